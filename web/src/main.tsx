// The explorer: GraphiQL with its explorer plugin and the project's ready-made queries.

import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './style.css';

import { explorerPlugin } from '@graphiql/plugin-explorer';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createRoot } from 'react-dom/client';
import { readyMadeQueries } from './ready-made-queries';
import { chosenRepository, loadSettings, type Settings } from './settings';

function Explorer({ settings }: { settings: Settings }) {
  const repository = chosenRepository(settings);
  if (!repository) {
    return <p className="notice">The server is still opening its repositories. Reload the page in a moment.</p>;
  }
  const fetcher = createGraphiQLFetcher({ url: repository.endpoint });
  const ready = readyMadeQueries(settings.queries);
  const first = settings.queries[0];
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={[ready, explorerPlugin(), HISTORY_PLUGIN]}
      visiblePlugin={ready}
      defaultQuery={first?.query}
      isHeadersEditorEnabled={false}
    >
      <GraphiQL.Logo>
        <span className="brand">
          <a href="./" title={`ButlerQL ${settings.version}`}>
            ButlerQL
          </a>
          {settings.repositories.map(({ label }) => (
            <a
              key={label}
              className="repository"
              href={`?repository=${encodeURIComponent(label)}`}
              aria-current={label === repository.label ? 'page' : undefined}
            >
              {label}
            </a>
          ))}
        </span>
      </GraphiQL.Logo>
    </GraphiQL>
  );
}

const root = createRoot(document.getElementById('explorer')!);
try {
  const settings = await loadSettings();
  root.render(<Explorer settings={settings} />);
} catch (error) {
  root.render(<p className="notice">The explorer cannot start. {String(error)}</p>);
}
