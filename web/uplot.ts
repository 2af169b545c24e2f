import type { Plugin } from 'vite'

// What uPlot has and this page does not use, taken out while the page is built: scales of
// time and logarithms (labels come from the server's periods), its legend (ours is of buttons), zooming by
// dragging, charts that move together, plugins, bands, labels and ticks of axes, and ways to draw other than lines.
// The texts are of the version that package.json names; a build over another one fails here.
const cuts: [from: string | RegExp, to: string, times?: number][] = [
  ['const FEAT_TIME          = true;', 'const FEAT_TIME = false;'],
  ['const mode = self.mode;', 'const mode = 1;'],
  ['const showLegend = legend.show;', 'const showLegend = false;'],
  ['if (legend.show && legend.live && shouldSetLegend) {', 'if (false) {'],
  ['uPlot.fmtDate = fmtDate;', ''],
  ['uPlot.tzDate  = tzDate;', ''],
  ['uPlot.join = join;', ''],
  ['(paths.linear  = linear);', ''],
  ['(paths.stepped = stepped);', ''],
  ['(paths.bars    = bars);', ''],
  ['(paths.spline  = monotoneCubic);', ''],
  ['uPlot.sync = _sync;', ''],
  ['uPlot.rangeLog = rangeLog;', ''],
  ['uPlot.rangeAsinh = rangeAsinh;', ''],
  ['const _tzDate  = (opts.tzDate || (ts => new Date(round(ts / ms))));', 'const _tzDate = null;'],
  ['const _fmtDate = (opts.fmtDate || fmtDate);', 'const _fmtDate = null;'],
  ['const _timeAxisSplits = (ms == 1 ? timeAxisSplitsMs(_tzDate) : timeAxisSplitsS(_tzDate));', 'const _timeAxisSplits = null;'],
  ['const _timeAxisVals   = timeAxisVals(_tzDate, timeAxisStamps((ms == 1 ? _timeAxisStampsMs : _timeAxisStampsS), _fmtDate));', 'const _timeAxisVals = null;'],
  ['const _timeSeriesVal  = timeSeriesVal(_tzDate, timeSeriesStamp(_timeSeriesStamp, _fmtDate));', 'const _timeSeriesVal = null;'],
  ['let isTime = mode == 1 && scales[s.scale].time;', 'const isTime = false;'],
  [/let isTime = sc\.time;/g, 'const isTime = false;', 2],
  [/\b(?:sc|wsc|scale)\.distr\s*(?:==|>=)\s*(?:2|3|4|100)\b/g, 'false', 21],
  ['scaleX.distr != 2 ||', 'true ||'],
  [/let distr = sc\.distr;/g, 'const distr = 1;', 2],
  ['const xScaleDistr = scaleX.distr;', 'const xScaleDistr = 1;'],
  ['onMouse(mousedown,  over, mouseDown);', ''],
  ['onMouse(dblclick, over, dblClick);', ''],
  ['if (select.show && dragging) {', 'if (false) {'],
  ['if (dragging && e != null && e.movementX == 0 && e.movementY == 0)', 'if (false)'],
  ['if (dragging) {', 'if (false) {'],
  ['let _dragging = dragging;', 'const _dragging = false;'],
  ['genTimeStuffs(1);', '[];'],
  ['genTimeStuffs(1e-3);', '[];'],
  ['events.mousedown = mouseDown;', ''],
  ['events.mouseup = mouseUp;', ''],
  ['events.dblclick = dblClick;', ''],
  ['if (syncOpts.filters.pub(type, src, x, y, w, h, i))', 'if (false)'],
  ['if (syncOpts.filters.sub(type, src, x, y, w, h, i))', 'if (false)'],
  ['sync.sub(self);', ''],
  ['sync.unsub(self);', ''],
  ['const cursorFocus = focus.prox >= 0;', 'const cursorFocus = false;'],
  [/self\.(?:addSeries|delSeries|batch|setSelect|setSeries|addBand|setBand|delBand|setLegend|pub|posToIdx|posToVal) = \w+;/g, '', 12],
  [/events\["setSeries"\] = [^]*?\n\t\};/g, '', 1],
  ['events.mousemove = mouseMove;', ''],
  ['flags != 0 && bands.forEach(', 'false && bands.forEach('],
  ['let bands = ifNull(self.bands, EMPTY_ARR);', 'const bands = [];'],
  [/^\t\t\tsetLegend\(\);$/gm, '', 2],
  ['self.redraw = (rebuildPaths', 'const redraw = (rebuildPaths'],
  [/uPlot\.(?:assign|fmtNum|rangeNum|orient|addGap|clipGaps) *= \w+;/g, '', 6],
  ['self.valToIdx = val => closestIdx(val, data[0]);', ''],
  [/^\t\(opts\.plugins \|\| \[\]\)\.forEach\(p => \{\n[^]*?\n\t\}\);/gm, '', 2],
  ['if (axis.label != null) {', 'if (false) {'],
  [/if \(angle\) \{/g, 'if (false) {', 1],
  ['if (ticks.show) {', 'if (false) {'],
  ['if (border.show) {', 'if (false) {'],
  // What the pointer is over is shown by our legend; the picture shows the line of the cursor alone.
  ['for (let i = mode == 2 ? 1 : 0; i < series.length; i++) {\n\t\t\t\tlet s = series[i];\n\n\t\t\t\tlet idx1', 'for (let i = 0; false; i++) {\nlet s = series[i];\nlet idx1'],
  ['if (shouldSetLegend) {', 'if (false) {'],
]

export function smallUPlot(): Plugin {
  return {
    name: 'small-uplot',
    enforce: 'pre',
    transform(code, id) {
      if (!id.includes('uPlot.esm')) return
      for (const [from, to, times = 1] of cuts) {
        const found = typeof from === 'string' ? code.split(from).length - 1 : (code.match(from) ?? []).length
        if (found !== times) this.error(`uPlot has changed: ${from} is there ${found} times, not ${times}; look at web/uplot.ts`)
        code = code.replace(from, () => to)
      }
      return { code, map: null }
    },
  }
}
