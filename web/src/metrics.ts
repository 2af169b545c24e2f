// The numbers of /metrics, in Prometheus text.
export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

export function read(text: string): Sample[] {
  const out: Sample[] = []
  for (const line of text.split('\n')) {
    const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line)
    if (!m) continue
    const labels: Record<string, string> = {}
    for (const [, k, v] of (m[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[k!] = v!
    out.push({ name: m[1]!, labels, value: Number(m[3]) })
  }
  return out
}

// quantile is the bound of a histogram's bucket that holds a share of what was measured; null without measurements.
export function quantile(all: Sample[], name: string, labels: Record<string, string>, share: number): number | null {
  const of = all.filter((s) => s.name === name + '_bucket' && Object.entries(labels).every(([k, v]) => s.labels[k] === v)).map((s) => ({ le: Number(s.labels.le === '+Inf' ? Infinity : s.labels.le), n: s.value }))
  of.sort((a, b) => a.le - b.le)
  const sum = of.at(-1)?.n ?? 0
  const hit = of.find((b) => b.n >= share * sum)
  return sum > 0 && hit && Number.isFinite(hit.le) ? hit.le : null
}
