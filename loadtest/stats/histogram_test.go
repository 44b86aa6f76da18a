package stats

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// exactQuantile is the definition that the histogram approximates.
func exactQuantile(sorted []time.Duration, q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func durations() *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		exponent := rapid.Float64Range(4, math.Log10(float64(time.Hour))).Draw(t, "exponent")
		return time.Duration(math.Pow(10, exponent))
	})
}

func TestQuantilesAreExactToOnePercentAfterMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SliceOf(durations()), 1, 5).Draw(t, "parts")
		merged := new(Histogram)
		var all []time.Duration
		var sum time.Duration
		for _, part := range parts {
			h := new(Histogram)
			for _, d := range part {
				h.Record(d)
				sum += d
			}
			merged.Merge(h)
			all = append(all, part...)
		}
		if len(all) == 0 {
			return
		}
		slices.Sort(all)
		if merged.Count() != int64(len(all)) || merged.Sum() != sum || merged.Min() != all[0] || merged.Max() != all[len(all)-1] {
			t.Fatalf("count %d sum %v min %v max %v, want %d %v %v %v", merged.Count(), merged.Sum(),
				merged.Min(), merged.Max(), len(all), sum, all[0], all[len(all)-1])
		}
		for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
			got, want := merged.Quantile(q), exactQuantile(all, q)
			if err := math.Abs(float64(got-want)) / float64(want); err > 0.01 {
				t.Fatalf("quantile %v is %v, exactly %v: %.2f%% off", q, got, want, 100*err)
			}
		}
	})
}

func TestHistogramKeepsExtremes(t *testing.T) {
	h := new(Histogram)
	for _, d := range []time.Duration{-5, 0, 1, 30 * time.Hour, math.MaxInt64 / 4} {
		h.Record(d)
	}
	if h.Min() != 0 || h.Max() != math.MaxInt64/4 || h.Count() != 5 {
		t.Errorf("min %v max %v count %d", h.Min(), h.Max(), h.Count())
	}
	if got := h.Quantile(1); got != h.Max() {
		t.Errorf("quantile 1 is %v, want the maximum", got)
	}
}

func TestEncodingKeepsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := new(Histogram)
		for _, d := range rapid.SliceOf(durations()).Draw(t, "durations") {
			h.Record(d)
		}
		data, err := h.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back Histogram
		if err := back.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		again, _ := back.MarshalBinary()
		if !bytes.Equal(data, again) || back.Quantile(0.5) != h.Quantile(0.5) || back.Sum() != h.Sum() {
			t.Fatal("a histogram changed on its way through the encoding")
		}
	})
}

// What was decoded, few buckets or many, is a histogram as any other, whatever is done with it.
func TestWhatWasDecodedIsAHistogramLikeOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (recorded, decoded *Histogram) {
			recorded, decoded = new(Histogram), latencies(100) // its memory is used again
			for range rapid.IntRange(0, 1).Draw(t, label+" many") {
				recorded.Merge(latencies(100_000))
			}
			for _, d := range rapid.SliceOf(durations()).Draw(t, label) {
				recorded.Record(d)
			}
			data, _ := recorded.MarshalBinary()
			if err := decoded.UnmarshalBinary(data); err != nil {
				t.Fatal(err)
			}
			return recorded, decoded
		}
		same := func(what string, a, b *Histogram) {
			t.Helper()
			left, _ := a.MarshalBinary()
			right, _ := b.MarshalBinary()
			if !bytes.Equal(left, right) || a.Quantile(0.9) != b.Quantile(0.9) {
				t.Fatalf("%s: %x recorded, %x decoded", what, left, right)
			}
		}
		a, aDecoded := draw("a")
		b, bDecoded := draw("b")
		same("read", a, aDecoded)
		same("copied", a, aDecoded.Clone())
		both, bothDecoded := a.Clone(), aDecoded.Clone()
		both.Merge(b)
		bothDecoded.Merge(bDecoded)
		same("merged", both, bothDecoded)
		same("difference", both.Since(a), bothDecoded.Since(aDecoded))
		aDecoded.Merge(bDecoded)
		same("merged into what was decoded", both, aDecoded)
		b.Record(time.Minute)
		bDecoded.Record(time.Minute)
		b.RecordN(time.Hour, 3)
		bDecoded.RecordN(time.Hour, 3)
		same("recorded more", b, bDecoded)
		bDecoded.Reset()
		same("reset", new(Histogram), bDecoded)
	})
}

// latencies draws from a mixture like that of a DynamoDB write.
func latencies(n int) *Histogram {
	rng := rand.New(rand.NewPCG(1, 2))
	h := new(Histogram)
	for range n {
		median, sigma := 3.26, 0.35
		if rng.Float64() < 0.001 {
			median, sigma = 28, 0.45
		}
		ms := min(max(median*math.Exp(sigma*rng.NormFloat64()), 1.2), 100)
		h.Record(time.Duration(ms * float64(time.Millisecond)))
	}
	return h
}

func TestAMillionLatenciesEncodeInTwoKilobytes(t *testing.T) {
	data, err := latencies(1_000_000).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 2048 {
		t.Errorf("encoded in %d bytes, want at most 2048", len(data))
	}
	t.Logf("%d bytes", len(data))
}

func TestSinceIsWhatCameAfter(t *testing.T) {
	h := new(Histogram)
	for i := range 100 {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	before := h.Clone()
	for range 50 {
		h.Record(time.Second)
	}
	since := h.Since(before)
	if since.Count() != 50 || since.Sum() != 50*time.Second {
		t.Errorf("count %d sum %v, want 50 and 50s", since.Count(), since.Sum())
	}
	if got := since.Quantile(0.01); math.Abs(float64(got-time.Second)) > 0.01*float64(time.Second) {
		t.Errorf("quantile of the difference is %v, want about 1s", got)
	}
}

func FuzzHistogramDecode(f *testing.F) {
	seed, _ := latencies(1000).MarshalBinary()
	f.Add(seed)
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var h Histogram
		if err := h.UnmarshalBinary(data); err != nil {
			return
		}
		h.Quantile(0.5)
		again, _ := h.MarshalBinary()
		var back Histogram
		if err := back.UnmarshalBinary(again); err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
	})
}

func BenchmarkHistogramRecord(b *testing.B) {
	h := latencies(1000)
	b.ReportAllocs()
	d := 3 * time.Millisecond
	for b.Loop() {
		h.Record(d)
	}
}

// A report has a few dozen response times a row, which the master decodes and merges.
func BenchmarkHistogramDecodeAndMerge(b *testing.B) {
	h, all := new(Histogram), new(Histogram)
	for i := range 60 {
		h.RecordN(time.Duration(i)*10*time.Millisecond, 7)
	}
	data, _ := h.MarshalBinary()
	b.ReportAllocs()
	for b.Loop() {
		if err := h.UnmarshalBinary(data); err != nil {
			b.Fatal(err)
		}
		all.Merge(h)
		h.Reset()
	}
}

func BenchmarkHistogramMerge(b *testing.B) {
	a, other := latencies(100_000), latencies(100_000)
	b.ReportAllocs()
	for b.Loop() {
		a.Merge(other)
	}
}
