package limiter

import "context"

// commit writes the plans, all or none. Not done and no error means: read and plan again.
func (a *acquire) commit(ctx context.Context, plans []plan) (done bool, err error) {
	var buffer [2]Write
	writes := buffer[:0]
	var index [2]int // of the plan behind each write
	for i := range plans {
		if !plans[i].idle {
			index[len(writes)] = i
			writes = append(writes, plans[i].write)
		}
	}
	if len(writes) > 0 {
		var out WriteOutput
		switch err := a.send(ctx, writes, &out); {
		case err != nil:
			return false, err
		case out.Outcome == Refused:
			writes, ok := a.retry(plans, index[:len(writes)], &out)
			if !ok {
				return false, nil
			}
			if len(writes) > 0 {
				if err := a.send(ctx, writes, &out); err != nil {
					return false, err
				}
				if out.Outcome != Done {
					return false, nil
				}
			}
		}
	}
	for i := range plans {
		p := plans[i].part
		p.charged = true
		p.owner.learnShards(p.image().Shards())
		a.l.remember(p.owner, p.in.Key.Shard, p.image(), a.now)
	}
	return true, nil
}

// send repeats a request that met another transaction; one that keeps meeting them is contended.
func (a *acquire) send(ctx context.Context, writes []Write, out *WriteOutput) error {
	for k := 0; ; k++ {
		a.trips++
		if err := a.l.store.Write(ctx, writes, out); err != nil {
			return err
		}
		if out.Outcome != Conflict {
			return nil
		}
		if k == maxConflictRetries {
			return &ExceededError{Contended: true}
		}
		if err := conflictPause(ctx, k); err != nil {
			return err
		}
	}
}

// retry shapes W3 after a lost W1 or W2: consumption alone, on whatever the winner left, without reading
// again. Writes that did not fail themselves are sent as they were. False means that only a new
// plan helps: the item is gone, or is not what the plan took it for.
func (a *acquire) retry(plans []plan, index []int, out *WriteOutput) (writes []Write, ok bool) {
	consumes := false
	for at, i := range index {
		p, result := &plans[i], &out.Results[at]
		switch {
		case result.OwnerFailed:
			return nil, false
		case !result.Failed:
			writes = append(writes, p.write)
		case p.write.Kind == WriteRetry || p.write.Kind == WriteRebuild || p.write.Kind == WriteClaim || p.seeds:
			return nil, false
		case !a.winnerLeft(p, &result.Image):
			return nil, false
		default:
			w := Write{Kind: WriteRetry, Key: p.write.Key}
			for _, limit := range p.write.Limits {
				if limit.Consumed > 0 {
					w.Limits = append(w.Limits, LimitWrite{Name: limit.Name, Consumed: limit.Consumed})
				}
			}
			if len(w.Limits) > 0 {
				writes = append(writes, w)
			}
		}
	}
	for _, w := range writes {
		for _, limit := range w.Limits {
			consumes = consumes || limit.Consumed > 0
		}
	}
	if !consumes {
		return nil, true
	}
	return writes, true
}

// winnerLeft says whether the image that refused a write can carry the consumption alone, and makes it
// the part's: what the lease works with is what the winner left, less the consumption.
func (a *acquire) winnerLeft(p *plan, image *Bucket) bool {
	w := &p.write
	if !image.Exists || !image.HasRF || image.Features != 0 {
		return false
	}
	if w.Owner.Found && image.PInc != "" && (image.PInc != w.Owner.Incarnation() || image.PGen > w.Owner.Generation) {
		return false
	}
	kept := p.part.image()
	limits := append(kept.Limits[:0], image.Limits...)
	for _, c := range a.charges {
		found := false
		for i := range limits {
			if limits[i].Name == c.Limit && limits[i].Complete() {
				limits[i].Tokens -= c.Amount
				limits[i].Counter += c.Amount
				found = true
			}
		}
		if !found && p.part == &a.child {
			return false
		}
	}
	*kept = *image
	kept.Limits = limits
	return true
}
