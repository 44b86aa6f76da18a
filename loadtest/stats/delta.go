package stats

// Since returns what happened after earlier, a previous snapshot of the same collector (nil = from
// the start): calls, errors, finished seconds, user seconds and warnings that are new. Users, peaks
// and what the generator says of its process are as of now, and so are the times of rows and errors.
// Merging all differences gives the figures of s. What it returns shares histograms of single seconds
// with s.
func (s *Snapshot) Since(earlier *Snapshot) *Snapshot {
	if earlier == nil {
		earlier = &Snapshot{}
	}
	d := *s
	d.Entries = entriesSince(s.Entries, earlier.Entries)
	d.Setup = entriesSince(s.Setup, earlier.Setup)
	d.Total = Entry{Hist: new(Histogram)}
	for i := range d.Entries {
		d.Total.Merge(&d.Entries[i])
	}
	d.Errors = errorsSince(s.Errors, earlier.Errors)
	d.TaskErrors = errorsSince(s.TaskErrors, earlier.TaskErrors)
	d.Series = s.Series[min(len(earlier.Series), len(s.Series)):]
	d.Warnings = s.Warnings[min(len(earlier.Warnings), len(s.Warnings)):]
	d.Coverage = s.Coverage.since(&earlier.Coverage)
	d.Generator.Seconds -= earlier.Generator.Seconds
	d.Generator.SaturatedSeconds -= earlier.Generator.SaturatedSeconds
	if s.Generator.Late != nil {
		d.Generator.Late = s.Generator.Late.Since(earlier.Generator.Late)
	}
	return &d
}

// entriesSince leaves out the rows in which nothing happened. Both are sorted by key.
func entriesSince(now, earlier []Entry) []Entry {
	before := make(map[Key]*Entry, len(earlier))
	for i := range earlier {
		before[earlier[i].Key] = &earlier[i]
	}
	var changed []Entry
	for i := range now {
		e := &now[i]
		base := before[e.Key]
		if base == nil {
			base = &Entry{}
		}
		if e.Requests == base.Requests {
			continue
		}
		d := *e
		d.Current = nil
		d.Requests -= base.Requests
		d.Failures -= base.Failures
		d.RateLimited -= base.RateLimited
		d.Untimed -= base.Untimed
		d.Depth -= base.Depth
		d.DepthCount -= base.DepthCount
		d.ContentLength -= base.ContentLength
		d.Hist = e.Hist.Since(base.Hist)
		changed = append(changed, d)
	}
	return changed
}

func errorsSince(now, earlier []Error) []Error {
	before := make(map[ErrorKey]int64, len(earlier))
	for i := range earlier {
		before[earlier[i].ErrorKey] = earlier[i].Occurrences
	}
	var changed []Error
	for _, e := range now {
		if e.Occurrences -= before[e.ErrorKey]; e.Occurrences > 0 {
			changed = append(changed, e)
		}
	}
	return changed
}

func (c *Coverage) since(earlier *Coverage) Coverage {
	return Coverage{
		PlannedUserSeconds:   c.PlannedUserSeconds - earlier.PlannedUserSeconds,
		DeliveredUserSeconds: c.DeliveredUserSeconds - earlier.DeliveredUserSeconds,
		Gaps:                 c.Gaps[min(len(earlier.Gaps), len(c.Gaps)):],
		CutShort:             c.CutShort,
		LostWorkers:          c.LostWorkers - earlier.LostWorkers,
		UnaccountedSamples:   c.UnaccountedSamples - earlier.UnaccountedSamples,
		MissingReports:       c.MissingReports - earlier.MissingReports,
	}
}
