// What the server tells the page about itself: butlerql/explorer.py writes it.

export interface ReadyMadeQuery {
  name: string;
  description: string;
  query: string;
}

export interface Repository {
  label: string;
  endpoint: string;
}

export interface Settings {
  version: string;
  repositories: Repository[];
  queries: ReadyMadeQuery[];
}

export async function loadSettings(): Promise<Settings> {
  const response = await fetch('explorer.json');
  if (!response.ok) {
    throw new Error(`The server answers with status ${response.status}.`);
  }
  return (await response.json()) as Settings;
}

// The repository that the address names, `?repository=label`, else the first.
export function chosenRepository(settings: Settings): Repository | undefined {
  const label = new URLSearchParams(window.location.search).get('repository');
  return settings.repositories.find((repository) => repository.label === label) ?? settings.repositories[0];
}
