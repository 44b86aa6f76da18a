package report

// PriceList holds the unit prices of one region at one date, in US dollars.
type PriceList struct {
	Date, Region                             string
	PerMillionReadUnits, PerMillionWriteUnit float64
}

// Cost is what the run would cost, and what acquires of its kind cost.
type Cost struct {
	EstimateUSD           *float64     `json:"estimate_usd"` // of everything that is known
	TableUSD              *float64     `json:"table_usd"`
	ComputeUSD            *float64     `json:"compute_usd"` // of task and functions; nil where there are none
	PerMillionAdmittedUSD *float64     `json:"per_million_admitted_usd"`
	PerMillionRefusedUSD  *float64     `json:"per_million_refused_usd"`
	PriceList             PriceListRef `json:"price_list"`
}

// PriceListRef names the prices behind an estimate.
type PriceListRef struct {
	Date   string `json:"date"`
	Region string `json:"region"`
}

// refusedReadUnits is what a refusal without speculation reads: the flags, the owner and the bucket.
const refusedReadUnits = 2.5

// costAt estimates from the consumed units.
func (r *Result) costAt(prices *PriceList) *Cost {
	c := &Cost{PriceList: PriceListRef{Date: prices.Date, Region: prices.Region}}
	refused := float64(r.Totals.RateLimited)
	refusal := prices.PerMillionWriteUnit / 1e6
	if r.Run.Speculative != nil && !*r.Run.Speculative {
		refusal = refusedReadUnits * prices.PerMillionReadUnits / 1e6
	}
	if refused > 0 && !r.refusesLocally() {
		c.PerMillionRefusedUSD = known(1e6 * refusal)
	}
	reads, writes, ok := r.units()
	if !ok {
		return c
	}
	total := (reads*prices.PerMillionReadUnits + writes*prices.PerMillionWriteUnit) / 1e6
	c.EstimateUSD, c.TableUSD = known(total), known(total)
	if admitted := r.admitted(); admitted > 0 && (refused == 0 || !r.refusesLocally()) {
		c.PerMillionAdmittedUSD = known(1e6 * max(total-refusal*refused, 0) / float64(admitted))
	}
	return c
}

// AddCompute adds what the machines of the run cost, in US dollars of a list, by which the rest is
// computed anew: whoever made the document may have had another one.
func (r *Result) AddCompute(usd float64, prices *PriceList) {
	r.Cost = r.costAt(prices)
	r.Cost.ComputeUSD = known(usd)
	total := usd
	if r.Cost.TableUSD != nil {
		total += *r.Cost.TableUSD
	}
	r.Cost.EstimateUSD = known(total)
}

// refusesLocally reports whether some refusals did not reach the table.
func (r *Result) refusesLocally() bool {
	return r.Run.RejectionCacheSeconds != nil && *r.Run.RejectionCacheSeconds > 0
}

// unreported are the write units of refusals. A refusal by the condition of a write is charged one
// unit, which the reply of the service does not tell: only an embedded engine has it in its counters.
func (r *Result) unreported() float64 {
	readsFirst := r.Run.Speculative != nil && !*r.Run.Speculative
	if r.Target.Kind == TargetEmbedded || readsFirst || r.refusesLocally() {
		return 0
	}
	return float64(r.Totals.RateLimited)
}

// units are the read units and the write units of table and indexes, with what refusals are charged.
func (r *Result) units() (reads, writes float64, ok bool) {
	c := &r.Consumed
	if c.ReadUnits == nil && c.WriteUnits == nil {
		return 0, 0, false
	}
	for _, w := range []*float64{c.WriteUnits, c.IndexWriteUnits} {
		if w != nil {
			writes += *w
		}
	}
	if c.ReadUnits != nil {
		reads = *c.ReadUnits
	}
	return reads, writes + r.unreported(), true
}

// admitted is the number of acquires that got what they asked for.
func (r *Result) admitted() int64 {
	var n int64
	for i := range r.Entries {
		if r.Entries[i].Type == typeAcquire {
			n += r.Entries[i].Requests - r.Entries[i].Failures
		}
	}
	return n
}
