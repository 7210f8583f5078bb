import { defineConfig } from 'vite';

export default defineConfig({
  // The page may be served below any path.
  base: './',
  worker: { format: 'es' },
  build: {
    outDir: '../butlerql/static',
    emptyOutDir: true,
    // Data URLs in scripts and styles would need holes in the content security policy.
    assetsInlineLimit: 0,
    target: 'es2022',
    // What is bundled is others' work: their licences go with it.
    license: { fileName: 'licences.md' },
    chunkSizeWarningLimit: 4096,
    rolldownOptions: {
      onLog(level, log, handle) {
        // "use client" in the libraries means nothing here.
        if (log.code !== 'MODULE_LEVEL_DIRECTIVE') {
          handle(level, log);
        }
      },
    },
  },
});
