// A pane that lists the queries the project keeps ready; choosing one opens it in a tab and runs it.

import { type GraphiQLPlugin, useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import type { ReadyMadeQuery } from './settings';

const TITLE = 'Ready-made queries';

function Icon() {
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <path d="M4 6h10M4 12h7M4 18h10" />
      <path d="M16 9l5 3.5-5 3.5z" fill="currentColor" />
    </svg>
  );
}

export function readyMadeQueries(queries: ReadyMadeQuery[]): GraphiQLPlugin {
  function Content() {
    const { addTab, changeTab, run, setOperationName } = useGraphiQLActions();
    const editor = useGraphiQL((state) => state.queryEditor);
    const tabs = useGraphiQL((state) => state.tabs);

    function open({ name, query }: ReadyMadeQuery) {
      const there = tabs.findIndex((tab) => tab.query === query);
      if (there >= 0) {
        changeTab(there);
      } else {
        addTab();
        editor?.setValue(query);
      }
      setOperationName(name);
      void run();
    }

    return (
      <section className="ready-made" aria-label={TITLE}>
        <header>{TITLE}</header>
        <p>Choose one: it opens in a tab of its own and runs. Then change it and run it again.</p>
        <ul>
          {queries.map((ready) => (
            <li key={ready.name}>
              <button type="button" onClick={() => open(ready)}>
                <strong>{ready.description}</strong>
                <code>{ready.name}</code>
              </button>
            </li>
          ))}
        </ul>
      </section>
    );
  }

  return { title: TITLE, icon: Icon, content: Content };
}
