// marked is an event as lines of JSON, with those marked that a path names, or what is
// nearest to it where the event has no such member.
export function marked(event: unknown, path: string | undefined): { text: string; bad: boolean }[] {
  const out: { text: string; at: string }[] = []
  const walk = (v: unknown, at: string, head: string, tail: string, indent: string) => {
    if (v === null || typeof v !== 'object') {
      out.push({ text: indent + head + JSON.stringify(v) + tail, at })
      return
    }
    const list = Array.isArray(v)
    const members = list ? v.map((x, i) => [String(i), x] as const) : Object.entries(v)
    out.push({ text: indent + head + (list ? '[' : '{'), at })
    members.forEach(([k, x], i) => walk(x, at ? at + '.' + k : k, list ? '' : JSON.stringify(k) + ': ', i + 1 < members.length ? ',' : '', indent + '  '))
    out.push({ text: indent + (list ? ']' : '}') + tail, at: at + ' end' })
  }
  walk(event, '', '', '', '')
  let want = path ?? ''
  while (want && !out.some((l) => l.at === want)) want = want.includes('.') ? want.slice(0, want.lastIndexOf('.')) : ''
  return out.map((l) => ({ text: l.text, bad: want !== '' && (l.at === want || l.at.startsWith(want + '.')) && (l.at === want || want === path) }))
}
