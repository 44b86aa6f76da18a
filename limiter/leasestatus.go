package limiter

// Statuses is what is left of each declared limit after what the lease has taken so far, of the
// entity and then its parent, and the same of further resources: the shares of the shards that were charged, as of the last thing this
// lease learned of them, refilled to now. It sends nothing. A degraded lease knows nothing.
func (l *Lease) Statuses() []LimitStatus {
	if l.degraded {
		return nil
	}
	statuses := l.ownStatuses()
	for _, further := range l.also {
		statuses = append(statuses, further.ownStatuses()...)
	}
	return statuses
}

func (l *Lease) ownStatuses() []LimitStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.limiter.nowMillis()
	if l.prepare(now) != nil {
		return nil
	}
	var statuses []LimitStatus
	for p := range l.parts() {
		part := l.part(p)
		for i, c := range l.acquire.charges {
			if part.image().Limit(c.Limit) == nil {
				continue // a parent without this limit
			}
			statuses = append(statuses, l.status(p, i, (c.Amount+l.extra[i])/1000, now))
		}
	}
	return statuses
}

// status is what a part has left of the charge i.
func (l *Lease) status(p, i int, requested, now int64) LimitStatus {
	part, state, name := l.part(p), &l.local[p*len(l.acquire.charges)+i], l.acquire.charges[i].Limit
	return LimitStatus{
		EntityID: part.in.Key.EntityID, Resource: part.in.Key.Resource, Limit: part.share(name, state, now),
		Available: state.Available(now), Requested: requested, ResetsAt: resetsAt(state, now),
	}
}
