package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Proportion is how many of some persons converted.
type Proportion struct{ Converted, Users int }

func (p Proportion) rate() float64 { return float64(p.Converted) / float64(p.Users) }

// PValue is that of a two-sided z-test of two proportions with the pooled rate;
// ok is false when both rates are 0 or both are 1.
func PValue(a, b Proportion) (p float64, ok bool) {
	pooled := float64(a.Converted+b.Converted) / float64(a.Users+b.Users)
	se := math.Sqrt(pooled * (1 - pooled) * (1/float64(a.Users) + 1/float64(b.Users)))
	if se == 0 {
		return 0, false
	}
	return 2 * distuv.UnitNormal.Survival(math.Abs(a.rate()-b.rate())/se), true
}

// Lift is how much a's rate is above the control's, relative to it, with a 95 %
// interval by the delta method and unpooled variances; ok is false when nobody of the
// control converted.
func Lift(a, control Proportion) (lift float64, interval [2]float64, ok bool) {
	p1, p0 := a.rate(), control.rate()
	if p0 == 0 {
		return 0, interval, false
	}
	n1, n0 := float64(a.Users), float64(control.Users)
	lift = p1/p0 - 1
	se := math.Sqrt(p1*(1-p1)/n1/(p0*p0) + p0*(1-p0)/n0*p1*p1/(p0*p0*p0*p0))
	z := distuv.UnitNormal.Quantile(0.975)
	return lift, [2]float64{lift - z*se, lift + z*se}, true
}

// ChanceToBeat is P(A > B) for rates A ~ Beta(1+conversions, 1+failures) and B
// likewise: the closed sum over the conversions (Evan Miller, Formulas for
// Bayesian A/B testing), taken over the side with fewer terms.
func ChanceToBeat(a, b Proportion) float64 {
	aA, bA := float64(a.Converted+1), float64(a.Users-a.Converted+1)
	aB, bB := float64(b.Converted+1), float64(b.Users-b.Converted+1)
	if aB < aA {
		return 1 - betaSum(aA, bA, aB, bB)
	}
	return betaSum(aB, bB, aA, bA)
}

// betaSum is P(B > A) for A ~ Beta(aA, bA), B ~ Beta(aB, bB), with aB whole.
func betaSum(aA, bA, aB, bB float64) float64 {
	sum := 0.0
	for i := 0.0; i < aB; i++ {
		sum += math.Exp(logBeta(aA+i, bB+bA) - math.Log(bB+i) - logBeta(1+i, bB) - logBeta(aA, bA))
	}
	return min(max(sum, 0), 1)
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// SampleRatio is the p-value of a chi-square test that persons were spread evenly.
func SampleRatio(users []int) float64 {
	total := 0
	for _, n := range users {
		total += n
	}
	want := float64(total) / float64(len(users))
	chi := 0.0
	for _, n := range users {
		d := float64(n) - want
		chi += d * d / want
	}
	return distuv.ChiSquared{K: float64(len(users) - 1)}.Survival(chi)
}
