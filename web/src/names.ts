import { get, encode, type Catalog, type Suggestion } from './api'
import { eventText } from './query/tokens'
import { shared } from './state.svelte'

// What pickers offer, from the server's catalog.

const has = (name: string, text: string): boolean => name.toLowerCase().includes(text.toLowerCase())

export const eventNames = (text: string): string[] => ['any', ...(shared.catalog?.events ?? []).map((e) => e.name)].filter((n) => has(n, text))

const own = ['eventName', 'source', 'userId', 'anonymousId', 'timestamp', 'receivedAt']
const ofEvent = new Map<string, Promise<Catalog>>()

// fieldNames are fields of one event, or of all.
export async function fieldNames(text: string, event = ''): Promise<string[]> {
  let catalog = shared.catalog
  if (event && event !== 'any') {
    let asked = ofEvent.get(event)
    if (!asked) ofEvent.set(event, (asked = get<Catalog>('api/catalog?event=' + encode(event))))
    try {
      catalog = await asked
    } catch {
      ofEvent.delete(event)
    }
  }
  return [...(catalog?.fields ?? []).map((f) => f.field), ...own].filter((n) => has(n, text))
}

// values are those of a field that begin with a text.
export async function values(field: string, text: string, event = ''): Promise<string[]> {
  const start = `events of ${event && event !== 'any' ? eventText(event) : 'any'} where ${field} = "${text.replace(/["\\]/g, '')}`
  try {
    const { suggestions } = await get<{ suggestions: Suggestion[] }>('api/query/complete?q=' + encode(start))
    return suggestions.filter((s) => s.kind === 'value').map((s) => unquoted(s.text))
  } catch {
    return []
  }
}

function unquoted(text: string): string {
  try {
    return String(JSON.parse(text))
  } catch {
    return text
  }
}

// firstField is the first of some fields that is in the data.
export const firstField = (...names: string[]): string | undefined => names.find((n) => shared.catalog?.fields.some((f) => f.field === n))
