package stats

// TimeToConvert is the time from the first step of a funnel to the last, over
// those who converted.
type TimeToConvert struct {
	MedianSeconds float64        `json:"median_seconds"`
	P90Seconds    float64        `json:"p90_seconds"`
	Histogram     []HistogramBin `json:"histogram"`
}

// HistogramBin counts values in [From, To) seconds; the last bin holds its end.
type HistogramBin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int     `json:"count"`
}

// histogramBins is how many bins a histogram has at most.
const histogramBins = 20

// NewTimeToConvert sums up times in microseconds, at least one; it reorders them.
func NewTimeToConvert(micros []int64) *TimeToConvert {
	q := Quantiles(micros, 0, 0.5, 0.9, 1)
	t := &TimeToConvert{MedianSeconds: q[1] / 1e6, P90Seconds: q[2] / 1e6}
	lo, hi := int64(q[0]), int64(q[3])
	if lo == hi {
		t.Histogram = []HistogramBin{{float64(lo) / 1e6, float64(hi) / 1e6, len(micros)}}
		return t
	}
	width := (hi - lo + histogramBins - 1) / histogramBins
	for from := lo; from < hi; from += width {
		t.Histogram = append(t.Histogram, HistogramBin{From: float64(from) / 1e6, To: float64(from+width) / 1e6})
	}
	for _, v := range micros {
		t.Histogram[min(int((v-lo)/width), len(t.Histogram)-1)].Count++
	}
	return t
}
