package oracle

import (
	"math"
	"slices"
)

// quantile interpolates linearly between the two nearest of the sorted values:
// place p * (n-1) of the order. It is nil without values.
func quantile(values []float64, p float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	place := p * float64(len(sorted)-1)
	below := int(math.Floor(place))
	v := sorted[below]
	if below+1 < len(sorted) {
		v += (place - float64(below)) * (sorted[below+1] - v)
	}
	return &v
}

func median(values []float64) *float64 { return quantile(values, 0.5) }

// mean is nil without values.
func mean(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	return quotient(sum(values), float64(len(values)))
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}

// quotient is nil for a division by zero.
func quotient(a, b float64) *float64 {
	if b == 0 {
		return nil
	}
	q := a / b
	return &q
}

// share is a part of a whole; of nothing it is 0.
func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// HistogramBins bounds the bins of a histogram of times.
const HistogramBins = 20

// histogram counts microseconds in at most HistogramBins bins of equal width,
// which is whole microseconds, from the least value on. The last bin holds its
// end. Values that are all one have one bin without width.
func histogram(values []int64) []Bin {
	least, most := slices.Min(values), slices.Max(values)
	if least == most {
		return []Bin{{seconds(least), seconds(most), len(values)}}
	}
	width := (most - least + HistogramBins - 1) / HistogramBins
	n := (most - least + width - 1) / width
	bins := make([]Bin, n)
	for i := range bins {
		bins[i].From, bins[i].To = seconds(least+int64(i)*width), seconds(least+int64(i+1)*width)
	}
	for _, v := range values {
		bins[min((v-least)/width, n-1)].Count++
	}
	return bins
}

func seconds(micros int64) float64 { return float64(micros) / 1e6 }
