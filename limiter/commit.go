package limiter

import "context"

// commit writes the plans, all or none. Not done and no error means: read and plan again.
func (a *acquire) commit(ctx context.Context, plans []plan) (done bool, err error) {
	for i := range plans {
		if err := a.freeze(ctx, plans[i].lagging, plans[i].write.ShardCount); err != nil {
			return false, err
		}
	}
	count := 0
	for i := range plans {
		count += 1 + len(plans[i].moves)
	}
	writes := make([]Write, 0, count)
	index := make([]int, 0, 2) // of the plan behind each write
	for i := range plans {
		if !plans[i].idle {
			index = append(index, i)
			writes = append(writes, plans[i].write)
		}
		for _, move := range plans[i].moves {
			index = append(index, i)
			writes = append(writes, move)
		}
	}
	if len(writes) > 0 {
		var out WriteOutput
		switch err := a.send(ctx, writes, &out); {
		case err != nil:
			return false, err
		case out.Outcome == Refused:
			again, ok := a.retry(plans, writes, index, &out)
			if !ok {
				return false, nil
			}
			if len(again) > 0 {
				if err := a.send(ctx, again, &out); err != nil {
					return false, err
				}
				if out.Outcome != Done {
					return false, nil
				}
			}
		}
	}
	for i := range plans {
		p := plans[i].by.part
		p.charged, p.bypassed = true, plans[i].bypassed
		if p.bypassed {
			p.owner.seeBypass(true)
		}
		p.owner.learnShards(p.image().Shards())
		a.l.remember(p.owner, p.in.Key.Shard, p.image(), a.now)
	}
	for i := range plans {
		a.openElsewhere(ctx, &plans[i])
		a.settle(ctx, &plans[i])
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
			return contended(nil)
		}
		if err := conflictPause(ctx, k); err != nil {
			return err
		}
	}
}

// retry shapes W3 after a lost W1 or W2: consumption alone, on whatever the winner left, without reading
// again. Writes that did not fail themselves are sent as they were. False means that only a new
// plan helps: the item is gone, or is not what the plan took it for.
func (a *acquire) retry(plans []plan, sent []Write, index []int, out *WriteOutput) (writes []Write, ok bool) {
	consumes := false
	for at, i := range index {
		p, result, failed := &plans[i], &out.Results[at], &sent[at]
		switch {
		case result.OwnerFailed:
			return nil, false
		case !result.Failed:
			writes = append(writes, *failed)
		case failed.Kind != WriteCreate && failed.Kind != WriteRefill || p.seeds || len(p.moves) > 0:
			return nil, false
		case !p.by.a.winnerLeft(p, &result.Image):
			return nil, false
		default:
			w := Write{Kind: WriteRetry, Key: failed.Key}
			for _, limit := range failed.Limits {
				if limit.Consumed == 0 {
					continue
				}
				again := LimitWrite{Name: limit.Name, Consumed: limit.Consumed, Free: limit.Free, Edge: limit.Edge}
				if granted := FieldGrants | FieldWindowApplied; failed.Kind == WriteRefill && limit.Set&granted == granted {
					again.Set, again.Extra.WindowApplied = FieldWindowApplied, limit.Extra.WindowApplied
				}
				w.Limits = append(w.Limits, again)
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
// the part's: what the lease works with is what the winner left, less the consumption. A waived demand, and
// a bucket on which something waits for a slow pass, are planned again.
func (a *acquire) winnerLeft(p *plan, image *Bucket) bool {
	w := &p.write
	if !image.Exists || !image.HasRF || p.bypassed || image.HasBypass || image.Disabled {
		return false
	}
	if image.HasVU && image.VU <= w.Now && (image.VU != 0 || scheduled(image)) {
		return false
	}
	if w.Owner.Found && image.PInc != "" && (image.PInc != w.Owner.Incarnation() || image.PGen > w.Owner.Generation) {
		return false
	}
	kept := p.by.part.image()
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
		if !found && p.by.part == &a.child {
			return false
		}
	}
	*kept = *image
	kept.Limits = limits
	p.by.part.planned = nil
	return true
}
