package bucket

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// model is a limit of one shard in unbounded integers, written from the definitions: what a State is held to.
type model struct {
	tk, rf, cp, ra, rp, shards  *big.Int
	soft                        bool
	length, ws, wa, wtc, gc, tu *big.Int // nil is absent; of a session quota
	tc                          *big.Int
}

func floorDiv(a, b *big.Int) *big.Int {
	// Div is Euclidean, which rounds down for divisors above 0.
	return new(big.Int).Div(a, b)
}

func (m *model) target() *big.Int { return floorDiv(m.cp, m.shards) }

func (m *model) ceiling() *big.Int {
	if m.length == nil {
		return m.target()
	}
	divisor := m.gc
	if divisor == nil {
		divisor = m.shards
	}
	ceiling := floorDiv(m.cp, divisor)
	if m.tu != nil {
		ceiling.Add(ceiling, m.tu)
	}
	return ceiling
}

func (m *model) refill(now *big.Int) {
	rate, ceiling := floorDiv(m.ra, m.shards), m.ceiling()
	elapsed := new(big.Int).Sub(now, m.rf)
	add := new(big.Int)
	if elapsed.Sign() > 0 {
		add = floorDiv(add.Mul(elapsed, rate), m.rp)
	}
	if add.Sign() > 0 {
		used := floorDiv(new(big.Int).Mul(add, m.rp), rate)
		m.rf = new(big.Int).Add(m.rf, used)
	}
	m.tk = new(big.Int).Add(m.tk, add)
	if m.tk.Cmp(ceiling) > 0 {
		m.tk = ceiling
	}
}

func (m *model) materialise(now *big.Int) {
	if m.length != nil {
		end := new(big.Int)
		if m.ws != nil {
			end.Add(m.ws, new(big.Int).Mul(m.length, big.NewInt(1000)))
		}
		applied := m.wa
		if applied == nil {
			applied = m.rf
		}
		switch {
		case m.ws == nil || now.Cmp(end) >= 0:
			m.ws = now
			m.roll(m.target())
		case m.ws.Cmp(applied) > 0:
			left := m.target()
			if m.wtc != nil {
				if since := new(big.Int).Sub(m.tc, m.wtc); since.Sign() > 0 {
					left.Sub(left, since)
				}
			}
			m.roll(left)
		}
	}
	m.refill(now)
}

func (m *model) roll(tokens *big.Int) { m.tk, m.wa, m.gc, m.tu = tokens, m.ws, m.shards, nil }

// take is try_consume of n tokens; wait is in ms, and 0 where it succeeds.
func (m *model) take(n, now *big.Int) (ok bool, wait *big.Int) {
	m.refill(now)
	need := new(big.Int).Mul(n, big.NewInt(1000))
	if m.soft || m.tk.Cmp(need) >= 0 {
		m.tk = new(big.Int).Sub(m.tk, need)
		return true, new(big.Int)
	}
	deficit := new(big.Int).Sub(need, m.tk)
	if m.length != nil {
		end := new(big.Int).Add(m.ws, new(big.Int).Mul(m.length, big.NewInt(1000)))
		return false, end.Sub(end, now)
	}
	rate := floorDiv(m.ra, m.shards)
	if rate.Sign() == 0 {
		rate = m.ra
	}
	wait = floorDiv(new(big.Int).Mul(deficit, m.rp), rate)
	return false, wait.Add(wait, big.NewInt(1))
}

func present(is bool, n int64) *big.Int {
	if !is {
		return nil
	}
	return big.NewInt(n)
}

// valueOf reads what is absent as 0.
func valueOf(n *big.Int) int64 {
	if n == nil {
		return 0
	}
	return n.Int64()
}

// A life of a limit, of whatever size its numbers are: what is admitted, what is left and how long to wait are those
// of the definitions, digit for digit.
func TestStatesAgreeWithUnboundedIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int64{10, 1e6, 1e15}).Draw(t, "size")
		session := rapid.Bool().Draw(t, "session")
		now := rapid.Int64Range(0, 2e12).Draw(t, "now")
		s := State{
			Tokens: rapid.Int64Range(-1000*size, 1000*size).Draw(t, "tokens"), RF: now - rapid.Int64Range(-1e6, 1e10).Draw(t, "age"),
			Capacity: 1000 * rapid.Int64Range(1, size).Draw(t, "capacity"), Refill: 1000 * rapid.Int64Range(1, size).Draw(t, "refill"),
			Period: 1000 * rapid.Int64Range(1, 1e9).Draw(t, "period"), Shards: rapid.Int64Range(1, 512).Draw(t, "shards"),
			Soft: rapid.IntRange(0, 9).Draw(t, "soft") == 0, Consumed: rapid.Int64Range(-1e6, 1e15).Draw(t, "tc"), HasConsumed: true,
		}
		if session {
			s.Refill = 0
			s.Grants, s.TopUp = rapid.Int64Range(0, 512).Draw(t, "gc"), rapid.Int64Range(0, 1000*size).Draw(t, "tu")
			s.Window = Window{
				Length: rapid.Int64Range(1, 1e9).Draw(t, "length"), HasStart: rapid.Bool().Draw(t, "ws"), HasApplied: rapid.Bool().Draw(t, "wa"), HasMark: rapid.Bool().Draw(t, "wtc"),
				Start: now - rapid.Int64Range(-1e6, 2e10).Draw(t, "opened"), Applied: now - rapid.Int64Range(-1e6, 2e10).Draw(t, "applied"), Mark: rapid.Int64Range(-1e6, 1e15).Draw(t, "mark"),
			}
		}
		m := model{
			tk: big.NewInt(s.Tokens), rf: big.NewInt(s.RF), cp: big.NewInt(s.Capacity), ra: big.NewInt(s.Refill), rp: big.NewInt(s.Period),
			shards: big.NewInt(s.Shards), soft: s.Soft, tc: big.NewInt(s.Consumed),
			length: present(session, s.Window.Length), ws: present(s.Window.HasStart, s.Window.Start), wa: present(s.Window.HasApplied, s.Window.Applied),
			wtc: present(s.Window.HasMark, s.Window.Mark), gc: present(s.Grants > 0, s.Grants), tu: present(s.TopUp > 0, s.TopUp),
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now += rapid.SampledFrom([]int64{0, 1, 999, 1e6, 1e12}).Draw(t, "passes")
			n := rapid.Int64Range(0, size).Draw(t, "n")
			s, _ = s.Materialise(now)
			m.materialise(big.NewInt(now))
			look := m // a look refills, too: what is below a millisecond counts again
			look.refill(big.NewInt(now))
			if got, want := s.Available(now), floorDiv(look.tk, big.NewInt(1000)); big.NewInt(got).Cmp(want) != 0 {
				t.Fatalf("available %d, want %d", got, want)
			}
			after, ok, wait := s.TryConsume(n, now)
			wantOK, wantWait := m.take(big.NewInt(n), big.NewInt(now))
			if !wantWait.IsInt64() { // for ever
				wantWait = big.NewInt(math.MaxInt64)
			}
			if ok != wantOK || big.NewInt(wait).Cmp(wantWait) != 0 {
				t.Fatalf("take %d: %v, wait %d, want %v, %d", n, ok, wait, wantOK, wantWait)
			}
			if big.NewInt(after.Tokens).Cmp(m.tk) != 0 || big.NewInt(after.RF).Cmp(m.rf) != 0 {
				t.Fatalf("left %d at %d, want %d at %d", after.Tokens, after.RF, m.tk, m.rf)
			}
			if after.Grants != valueOf(m.gc) || after.TopUp != valueOf(m.tu) {
				t.Fatalf("granted at %d shards, topped up by %d, want %d, %d", after.Grants, after.TopUp, m.gc, m.tu)
			}
			s = after
			if ok {
				s.Consumed += 1000 * n
				m.tc = new(big.Int).Add(m.tc, big.NewInt(1000*n))
			}
			s.RF, m.rf = now, big.NewInt(now) // what is stored is the time of the commit
		}
	})
}
