package report

import "math"

const (
	// fewestSeconds is the number of seconds from which on a series says something about noise.
	fewestSeconds = 8
	// fewestEffective is the least number of independent seconds that a series is worth: the
	// autocorrelation of a short one is itself mostly noise, and a bound on fewer would call a change
	// to ten times as much noise.
	fewestEffective = 4
	// normalQuantile bounds the middle 99 % of a normal distribution on each side.
	normalQuantile = 2.5758293035489004
	// percentileError is how far the percentiles of two documents may differ by the resolution of
	// their histograms alone.
	percentileError = 0.01
)

// noise is how sure the mean of a per-second series is.
type noise struct {
	mean, standardError float64
	effective           float64 // number of independent seconds that the series is worth
}

// noiseOf estimates the standard error of the mean of a series. Neighbouring seconds resemble each
// other, so the number of seconds is divided by the integrated autocorrelation time first. ok is
// false when the series is too short.
func noiseOf(series []float64) (n noise, ok bool) {
	if len(series) < fewestSeconds {
		return noise{}, false
	}
	count := float64(len(series))
	for _, x := range series {
		n.mean += x / count
	}
	deviations := make([]float64, len(series))
	variance := 0.0
	for i, x := range series {
		deviations[i] = x - n.mean
		variance += deviations[i] * deviations[i] / (count - 1)
	}
	n.effective = count
	if variance > 0 {
		n.effective = max(count/correlationTime(deviations, variance), fewestEffective)
	}
	n.standardError = math.Sqrt(variance / n.effective)
	return n, true
}

// correlationTime is 1 + 2·Σ of the autocorrelations, taken in pairs of lags while a pair is
// positive (Geyer's initial positive sequence): beyond that there is only noise. It is at least 1.
func correlationTime(deviations []float64, variance float64) float64 {
	at := func(lag int) float64 {
		sum := 0.0
		for i := lag; i < len(deviations); i++ {
			sum += deviations[i] * deviations[i-lag]
		}
		return sum / (float64(len(deviations)-1) * variance)
	}
	time := 1 + 2*at(1)
	for lag := 2; lag+1 < len(deviations)/2; lag += 2 {
		pair := at(lag) + at(lag+1)
		if pair <= 0 {
			break
		}
		time += 2 * pair
	}
	return max(time, 1)
}

// welch returns the difference of two means that 99 % of repetitions without a change stay below.
func welch(aError, aEffective, bError, bEffective float64) float64 {
	a, b := aError*aError, bError*bError
	if a+b == 0 {
		return 0
	}
	freedom := (a + b) * (a + b) / (a*a/max(aEffective-1, 1) + b*b/max(bEffective-1, 1))
	return studentQuantile(freedom) * math.Sqrt(a+b)
}

// studentQuantile is the 99.5 % quantile of Student's distribution by its expansion around the
// normal one; the table below takes over where that is off.
func studentQuantile(freedom float64) float64 {
	exact := []float64{63.657, 9.925, 5.841, 4.604, 4.032}
	if freedom < float64(len(exact)) {
		below := max(int(freedom), 1)
		share := max(freedom-float64(below), 0)
		return exact[below-1] + share*(exact[below]-exact[below-1])
	}
	const z = normalQuantile
	z3, z5, z7 := z*z*z, z*z*z*z*z, z*z*z*z*z*z*z
	return z + (z3+z)/(4*freedom) + (5*z5+16*z3+3*z)/(96*freedom*freedom) +
		(3*z7+19*z5+17*z3-15*z)/(384*freedom*freedom*freedom)
}
