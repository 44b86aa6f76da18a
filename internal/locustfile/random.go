package locustfile

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// randomValue is user.random; its functions are those of module random, which draw from the random
// numbers of whoever calls them.
type randomValue struct{}

func (randomValue) String() string        { return "<random>" }
func (randomValue) Type() string          { return "random" }
func (randomValue) Freeze()               {}
func (randomValue) Truth() starlark.Bool  { return starlark.True }
func (randomValue) Hash() (uint32, error) { return 0, nil }

// AttrNames implements starlark.HasAttrs.
func (randomValue) AttrNames() []string { return sortedKeys(randomFunctions) }

// Attr implements starlark.HasAttrs.
func (randomValue) Attr(name string) (starlark.Value, error) {
	if f := randomFunctions[name]; f != nil {
		return f, nil
	}
	return nil, nil
}

var randomFunctions = map[string]*starlark.Builtin{}

// draw is a function of random numbers.
type draw func(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

func init() {
	for name, f := range map[string]draw{
		"random": drawRandom, "randint": drawInt, "uniform": drawUniform, "choice": drawChoice, "choices": drawChoices,
		"gauss": drawGauss, "expovariate": drawExp, "zipf": drawZipf, "hex": drawHex,
	} {
		randomFunctions[name] = starlark.NewBuiltin(name, func(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			s := sessionOf(thread)
			if s == nil || s.rng == nil {
				return nil, errNotRunning
			}
			return f(s.rng, b, args, kwargs)
		})
	}
}

func randomModule() *starlarkstruct.Module {
	members := starlark.StringDict{}
	for name, f := range randomFunctions {
		members[name] = f
	}
	return &starlarkstruct.Module{Name: "random", Members: members}
}

func drawRandom(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	return starlark.Float(r.Float64()), nil
}

func drawInt(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var low, high int64
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "a", &low, "b", &high); err != nil {
		return nil, err
	}
	if low > high {
		return nil, fmt.Errorf("randint: the range from %d to %d is empty", low, high)
	}
	span := uint64(high) - uint64(low) + 1
	if span == 0 {
		return starlark.MakeInt64(int64(r.Uint64())), nil
	}
	return starlark.MakeInt64(low + int64(r.Uint64N(span))), nil
}

// floats unpacks numbers.
func floats(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple, names ...string) ([]float64, error) {
	values := make([]starlark.Value, len(names))
	pairs := make([]any, 0, 2*len(names))
	for i, name := range names {
		pairs = append(pairs, name, &values[i])
	}
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, pairs...); err != nil {
		return nil, err
	}
	out := make([]float64, len(names))
	for i, v := range values {
		f, ok := starlark.AsFloat(v)
		if !ok {
			return nil, fmt.Errorf("%s: %s must be a number, got %s", b.Name(), names[i], v.Type())
		}
		out[i] = f
	}
	return out, nil
}

func drawUniform(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := floats(b, args, kwargs, "a", "b")
	if err != nil {
		return nil, err
	}
	return starlark.Float(v[0] + r.Float64()*(v[1]-v[0])), nil
}

func drawGauss(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := floats(b, args, kwargs, "mu", "sigma")
	if err != nil {
		return nil, err
	}
	return starlark.Float(v[0] + r.NormFloat64()*v[1]), nil
}

func drawExp(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	v, err := floats(b, args, kwargs, "rate")
	if err != nil {
		return nil, err
	}
	if v[0] == 0 {
		return nil, errors.New("expovariate: the rate must not be 0")
	}
	return starlark.Float(r.ExpFloat64() / v[0]), nil
}

func drawChoice(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var seq starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "seq", &seq); err != nil {
		return nil, err
	}
	list, err := indexable(b, seq)
	if err != nil {
		return nil, err
	}
	return list.Index(r.IntN(list.Len())), nil
}

func indexable(b *starlark.Builtin, seq starlark.Value) (starlark.Indexable, error) {
	list, ok := seq.(starlark.Indexable)
	if !ok {
		return nil, fmt.Errorf("%s: want a list, tuple or string, got %s", b.Name(), seq.Type())
	}
	if list.Len() == 0 {
		return nil, fmt.Errorf("%s: the sequence is empty", b.Name())
	}
	return list, nil
}

// maxDrawn bounds what one call returns.
const maxDrawn = 1_000_000

func drawChoices(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var seq, weights starlark.Value
	k := 1
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "seq", &seq, "weights?", &weights, "k?", &k); err != nil {
		return nil, err
	}
	list, err := indexable(b, seq)
	if err != nil {
		return nil, err
	}
	if k < 0 || k > maxDrawn {
		return nil, fmt.Errorf("choices: k must be from 0 to %d, got %d", maxDrawn, k)
	}
	cumulative, err := cumulativeWeights(list.Len(), weights)
	if err != nil {
		return nil, err
	}
	out := make([]starlark.Value, k)
	for i := range out {
		x := r.Float64() * cumulative[len(cumulative)-1]
		at, _ := slices.BinarySearchFunc(cumulative, x, func(c, x float64) int {
			if c <= x {
				return -1
			}
			return 1
		})
		out[i] = list.Index(min(at, list.Len()-1))
	}
	return starlark.NewList(out), nil
}

func cumulativeWeights(n int, weights starlark.Value) ([]float64, error) {
	cumulative := make([]float64, 0, n)
	total := 0.0
	if weights == nil || weights == starlark.None {
		for i := range n {
			cumulative = append(cumulative, float64(i+1))
		}
		return cumulative, nil
	}
	list, ok := weights.(starlark.Iterable)
	if !ok {
		return nil, fmt.Errorf("choices: weights must be a list, got %s", weights.Type())
	}
	for element := range starlark.Elements(list) {
		w, ok := starlark.AsFloat(element)
		if !ok || w < 0 || math.IsNaN(w) {
			return nil, fmt.Errorf("choices: weights must be numbers of at least 0, got %s", element)
		}
		total += w
		cumulative = append(cumulative, total)
	}
	if len(cumulative) != n || total == 0 {
		return nil, fmt.Errorf("choices: want %d weights of which one is above 0, got %d with the sum %v", n, len(cumulative), total)
	}
	return cumulative, nil
}

const hexDigits = "0123456789abcdef"

func drawHex(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var n int
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "n", &n); err != nil {
		return nil, err
	}
	if n < 0 || n > maxDrawn {
		return nil, fmt.Errorf("hex: n must be from 0 to %d, got %d", maxDrawn, n)
	}
	out := make([]byte, n)
	for i := range out {
		out[i] = hexDigits[r.Uint32()&15]
	}
	return starlark.String(out), nil
}

// zipfTables shares the cumulative tables of equal arguments between all users.
var zipfTables sync.Map

type zipfKey struct {
	n        int
	exponent float64
}

const maxZipfRanks = 10_000_000

// zipfTable returns the cumulative probabilities of ranks 1 to n, where P(rank) is proportional to
// rank^-exponent.
func zipfTable(key zipfKey) []float64 {
	if table, ok := zipfTables.Load(key); ok {
		return table.([]float64)
	}
	table := make([]float64, key.n)
	total := 0.0
	for i := range table {
		total += math.Pow(float64(i+1), -key.exponent)
		table[i] = total
	}
	for i := range table {
		table[i] /= total
	}
	stored, _ := zipfTables.LoadOrStore(key, table)
	return stored.([]float64)
}

func drawZipf(r *rand.Rand, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var n int
	var exponent starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "n", &n, "exponent", &exponent); err != nil {
		return nil, err
	}
	e, ok := starlark.AsFloat(exponent)
	if !ok || n < 1 || n > maxZipfRanks || math.IsNaN(e) || math.IsInf(e, 0) {
		return nil, fmt.Errorf("zipf: want n from 1 to %d and a number as the exponent, got %d and %s", maxZipfRanks, n, exponent)
	}
	table := zipfTable(zipfKey{n, e})
	rank, _ := slices.BinarySearch(table, r.Float64())
	return starlark.MakeInt(min(rank, n-1) + 1), nil
}
