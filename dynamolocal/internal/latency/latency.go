// Package latency draws how long a call would have taken on the real service.
//
// A [Profile] holds one distribution per operation: a mixture of two
// lognormals, a body and a rare slow tail, clamped to a floor and a cap.
// [Parse] understands
//
//	none            no delay
//	aws             the distributions measured on a small on-demand table
//	constant=5ms    the same delay for every operation
//	FILE            a JSON file, see below
//
// A file names its operations; what it leaves out is taken from "base"
// ("none", the default, or "aws"):
//
//	{
//	  "base": "aws",
//	  "operations": {
//	    "GetItem":    {"median_ms": 1.12, "sigma": 0.35,
//	                   "tail_probability": 0.0005, "tail_median_ms": 12, "tail_sigma": 0.45,
//	                   "floor_ms": 0.4, "cap_ms": 40},
//	    "UpdateItem": {"constant_ms": 4},
//	    "BatchWriteItem": {"median_ms": 3.26, "sigma": 0.35, "per_item_ms": 0.2}
//	  }
//	}
//
// An operation is either "constant_ms" alone or "median_ms" with the rest
// optional: without a tail probability there is no tail, without a cap no
// upper bound. "per_item_ms" is added for every item of the request. The
// operation "*" stands for every operation that is not named.
//
// A [Network] is a separate term for the way between client and endpoint.
package latency

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

// Profile says how long each operation takes. It is immutable: any number of
// goroutines may draw from it, each with a generator of its own.
type Profile struct {
	operations map[string]distribution
	other      distribution
}

// distribution is a clamped mixture of two lognormals, in milliseconds.
type distribution struct {
	median, sigma         float64
	tail                  float64 // probability of the second lognormal
	tailMedian, tailSigma float64
	floor, ceiling        float64 // ceiling 0: none
	perItem               float64
}

// None returns the profile without delays.
func None() *Profile { return &Profile{} }

// Constant returns the profile that takes d for every operation.
func Constant(d time.Duration) *Profile {
	return &Profile{other: constant(milliseconds(d))}
}

// AWS returns the profile of the real service, without the network.
// GetItem, UpdateItem and the mean of TransactWriteItems are measured; the
// other operations are placed between them by what they do. Operations on
// tables, tags and the time to live have no delay.
func AWS() *Profile {
	get := distribution{median: 1.12, sigma: 0.35, tail: 0.0005, tailMedian: 12, tailSigma: 0.45, floor: 0.4, ceiling: 40}
	page := distribution{median: 2.0, sigma: 0.40, tail: 0.001, tailMedian: 15, tailSigma: 0.45, floor: 0.8, ceiling: 60}
	batchGet := page
	batchGet.median = 2.2
	write := distribution{median: 3.26, sigma: 0.35, tail: 0.001, tailMedian: 28, tailSigma: 0.45, floor: 1.2, ceiling: 100}
	batchWrite := write
	batchWrite.perItem = 0.2
	return &Profile{operations: map[string]distribution{
		"GetItem":            get,
		"Query":              page,
		"Scan":               page,
		"BatchGetItem":       batchGet,
		"PutItem":            write,
		"UpdateItem":         write,
		"DeleteItem":         write,
		"BatchWriteItem":     batchWrite,
		"TransactGetItems":   {median: 4.0, sigma: 0.35, tail: 0.001, tailMedian: 25, tailSigma: 0.45, floor: 1.5, ceiling: 100},
		"TransactWriteItems": {median: 14.7, sigma: 0.35, tail: 0.002, tailMedian: 50, tailSigma: 0.40, floor: 6, ceiling: 150},
	}}
}

// Parse reads a profile: "none" (or nothing), "aws", "constant=DURATION" or
// the path of a JSON file.
func Parse(s string) (*Profile, error) {
	switch name, value, given := strings.Cut(s, "="); {
	case s == "" || s == "none":
		return None(), nil
	case s == "aws":
		return AWS(), nil
	case name == "constant" && given:
		d, err := parseDuration(value)
		if err != nil {
			return nil, fmt.Errorf("latency profile %q: %w", s, err)
		}
		return Constant(d), nil
	}
	data, err := os.ReadFile(s)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("latency profile %q is neither none, aws, constant=DURATION nor a file", s)
	}
	if err != nil {
		return nil, fmt.Errorf("latency profile: %w", err)
	}
	p, err := ParseJSON(data)
	if err != nil {
		return nil, fmt.Errorf("latency profile %s: %w", s, err)
	}
	return p, nil
}

// file is the document of [ParseJSON].
type file struct {
	Base       string               `json:"base"`
	Operations map[string]operation `json:"operations"`
}

type operation struct {
	ConstantMS      *float64 `json:"constant_ms"`
	MedianMS        *float64 `json:"median_ms"`
	Sigma           float64  `json:"sigma"`
	TailProbability float64  `json:"tail_probability"`
	TailMedianMS    float64  `json:"tail_median_ms"`
	TailSigma       float64  `json:"tail_sigma"`
	FloorMS         float64  `json:"floor_ms"`
	CapMS           float64  `json:"cap_ms"`
	PerItemMS       float64  `json:"per_item_ms"`
}

// ParseJSON reads a profile in the file format of the package comment.
func ParseJSON(data []byte) (*Profile, error) {
	var f file
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	p := &Profile{operations: map[string]distribution{}}
	switch f.Base {
	case "", "none":
	case "aws":
		p = AWS()
	default:
		return nil, fmt.Errorf("base %q is neither none nor aws", f.Base)
	}
	if d, ok := f.Operations["*"]; ok {
		other, err := d.distribution()
		if err != nil {
			return nil, fmt.Errorf("operation %q: %w", "*", err)
		}
		p = &Profile{operations: map[string]distribution{}, other: other}
		delete(f.Operations, "*")
	}
	for name, o := range f.Operations {
		if !slices.Contains(operations, name) {
			return nil, fmt.Errorf("unknown operation %q", name)
		}
		d, err := o.distribution()
		if err != nil {
			return nil, fmt.Errorf("operation %q: %w", name, err)
		}
		p.operations[name] = d
	}
	return p, nil
}

// operations are the names a file may use.
var operations = []string{
	"BatchGetItem", "BatchWriteItem", "CreateTable", "DeleteItem", "DeleteTable", "DescribeTable",
	"DescribeTimeToLive", "GetItem", "ListTables", "ListTagsOfResource", "PutItem", "Query", "Scan",
	"TagResource", "TransactGetItems", "TransactWriteItems", "UntagResource", "UpdateItem",
	"UpdateTable", "UpdateTimeToLive",
}

func (o operation) distribution() (distribution, error) {
	if o.ConstantMS != nil {
		if rest := o; rest != (operation{ConstantMS: o.ConstantMS, PerItemMS: o.PerItemMS}) {
			return distribution{}, errors.New("constant_ms excludes the members of a distribution")
		}
		d := constant(*o.ConstantMS)
		d.perItem = o.PerItemMS
		return d, d.check()
	}
	if o.MedianMS == nil {
		return distribution{}, errors.New("neither constant_ms nor median_ms")
	}
	d := distribution{
		median: *o.MedianMS, sigma: o.Sigma,
		tail: o.TailProbability, tailMedian: o.TailMedianMS, tailSigma: o.TailSigma,
		floor: o.FloorMS, ceiling: o.CapMS, perItem: o.PerItemMS,
	}
	return d, d.check()
}

func (d distribution) check() error {
	switch {
	case min(d.median, d.sigma, d.tail, d.tailMedian, d.tailSigma, d.floor, d.ceiling, d.perItem) < 0:
		return errors.New("a member is negative")
	case d.tail > 1:
		return fmt.Errorf("tail_probability %v is greater than 1", d.tail)
	case d.tail > 0 && d.tailMedian == 0:
		return errors.New("tail_probability without tail_median_ms")
	case d.ceiling > 0 && d.ceiling < d.floor:
		return fmt.Errorf("cap_ms %v is less than floor_ms %v", d.ceiling, d.floor)
	}
	return nil
}

func constant(ms float64) distribution { return distribution{median: ms} }

// Zero reports whether the profile never delays, so that a caller can leave
// out the draw and the wait.
func (p *Profile) Zero() bool {
	return p == nil || len(p.operations) == 0 && p.other == distribution{}
}

// Random reports whether the delays of an operation are drawn, and not always the same.
func (p *Profile) Random(op string) bool {
	if p == nil {
		return false
	}
	d, ok := p.operations[op]
	if !ok {
		d = p.other
	}
	return d.sigma > 0 || d.tail > 0
}

// Draw returns the delay of one call of op over items items. Equal generators
// give equal delays; the number of values taken from r depends on op only
// through its distribution. r must not be shared without a lock.
func (p *Profile) Draw(op string, items int, r *rand.Rand) time.Duration {
	if p == nil {
		return 0
	}
	d, ok := p.operations[op]
	if !ok {
		d = p.other
	}
	return d.draw(items, r)
}

func (d distribution) draw(items int, r *rand.Rand) time.Duration {
	median, sigma := d.median, d.sigma
	if d.tail > 0 && r.Float64() < d.tail {
		median, sigma = d.tailMedian, d.tailSigma
	}
	ms := median
	if sigma > 0 {
		ms *= math.Exp(sigma * r.NormFloat64())
	}
	ms = max(ms, d.floor)
	if d.ceiling > 0 {
		ms = min(ms, d.ceiling)
	}
	return time.Duration(min(ms+d.perItem*float64(items), longest) * float64(time.Millisecond))
}

// longest is an hour in milliseconds; no draw is longer.
const longest = 3.6e6

// Network is the round trip between a client and the endpoint, added once to
// each request. The zero value adds nothing.
type Network struct{ d distribution }

// ParseNetwork reads "" or "none" (nothing), a duration ("1.2ms", constant)
// or "lognormal=MEDIAN,SIGMA" ("lognormal=1.2ms,0.3").
func ParseNetwork(s string) (Network, error) {
	if s == "" || s == "none" {
		return Network{}, nil
	}
	rest, lognormal := strings.CutPrefix(s, "lognormal=")
	if !lognormal {
		d, err := parseDuration(strings.TrimPrefix(s, "constant="))
		if err != nil {
			return Network{}, fmt.Errorf("network %q is neither DURATION nor lognormal=MEDIAN,SIGMA: %w", s, err)
		}
		return Network{constant(milliseconds(d))}, nil
	}
	medianText, sigmaText, _ := strings.Cut(rest, ",")
	median, err := parseDuration(medianText)
	if err != nil {
		return Network{}, fmt.Errorf("network %q: median: %w", s, err)
	}
	var sigma float64
	if n, err := fmt.Sscanf(sigmaText+"\n", "%g\n", &sigma); n != 1 || err != nil || sigma < 0 || math.IsInf(sigma, 0) || math.IsNaN(sigma) {
		return Network{}, fmt.Errorf("network %q: sigma %q is not a number from 0 up", s, sigmaText)
	}
	return Network{distribution{median: milliseconds(median), sigma: sigma}}, nil
}

// Zero reports whether the network adds nothing.
func (n Network) Zero() bool { return n.d == distribution{} }

// Draw returns the round trip of one request; r as in [Profile.Draw].
func (n Network) Draw(r *rand.Rand) time.Duration { return n.d.draw(0, r) }

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("duration %q is negative", s)
	}
	return d, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
