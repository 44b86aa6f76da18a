package limiter

import "time"

// remember keeps the last image of a shard, so that a request that it would refuse need not be sent.
func (l *Limiter) remember(o *owner, shard int, image *Bucket, now int64) {
	if l.opts.RejectionCacheTTL <= 0 || shard >= MaxShards {
		return
	}
	o.mu.Lock()
	for len(o.images) <= shard {
		o.images = append(o.images, cachedImage{})
	}
	slot := &o.images[shard]
	limits := append(slot.image.Limits[:0], image.Limits...)
	fresh := !slot.image.Exists
	slot.image, slot.at = *image, now
	slot.image.Limits = limits
	o.mu.Unlock()
	if fresh {
		l.owners.admitImage(imageRef{o, shard})
	}
}

// admitImage counts an image that is held now, and drops the oldest beyond maxImages.
func (c *ownerCache) admitImage(ref imageRef) {
	c.mu.Lock()
	var oldest imageRef
	if len(c.recent) < maxImages {
		c.recent = append(c.recent, ref)
	} else {
		oldest = c.recent[c.next]
		c.recent[c.next] = ref
		c.next = (c.next + 1) % maxImages
	}
	c.mu.Unlock()
	if oldest.owner != nil && oldest != ref {
		oldest.owner.dropImage(oldest.shard)
	}
}

// dropImage frees what forgetImage keeps for the next image of the shard.
func (o *owner) dropImage(shard int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if shard < len(o.images) {
		o.images[shard] = cachedImage{}
	}
}

func (o *owner) forgetImage(shard int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if shard < len(o.images) {
		o.images[shard].image.Exists = false
	}
}

// trusted says whether an image may still speak for its shard.
func (c *cachedImage) trusted(now int64, ttl time.Duration) bool {
	image := &c.image
	age := now - c.at // negative for a concurrent acquire; a clock that was set back trusts no future
	return image.Exists && max(age, -age) < ttl.Milliseconds() && !image.Disabled &&
		(!image.HasVU || image.VU > now) && (!image.HasTTL || image.TTL > now/1000)
}

// verdict is what the trusted images of a bucket say together.
type verdict struct {
	known  bool          // at least one shard has a trusted image
	short  bool          // all shards have one, and each refuses
	mask   uint32        // the shards that refuse
	judged []LimitStatus // of the shard with the shortest wait when short, else of any
}

func (a *acquire) recall(o *owner, entity string) verdict {
	v := verdict{short: true}
	var wait time.Duration
	key := BucketKey{EntityID: entity, Resource: a.req.Resource}
	o.mu.Lock()
	defer o.mu.Unlock()
	for s := range o.shardCount() {
		if s >= len(o.images) || !a.usable(&o.images[s]) {
			v.short = false
			continue
		}
		image := &o.images[s].image
		refuses := a.l.short(image, a.charges, a.now)
		if !refuses {
			v.short = false
			v.known = true
			continue
		}
		v.mask |= 1 << s
		key.Shard = s
		judged, longest := a.judgeImage(&key, image)
		if !v.known || v.judged == nil || longest < wait {
			v.judged, wait = judged, longest
		}
		v.known = true
	}
	return v
}

// usable says whether an image can be judged: what has an expired stamp, or a schedule that is not
// readable, is for the slow path.
func (a *acquire) usable(c *cachedImage) bool {
	return c.trusted(a.now, a.l.opts.RejectionCacheTTL) && a.complete(&c.image) && !a.stampExpired(&c.image) && a.readable(&c.image) == nil
}

func (a *acquire) judgeImage(key *BucketKey, image *Bucket) ([]LimitStatus, time.Duration) {
	var statuses []LimitStatus
	longest := time.Duration(0)
	for _, c := range a.charges {
		s := judge(key, c.Limit, a.l.known(image, image.Limit(c.Limit), a.now).Restored(a.now), c.Amount, a.now)
		longest = max(longest, s.RetryAfter)
		statuses = append(statuses, s)
	}
	return statuses, longest
}

// rejectFromMemory refuses without a request when every shard's last image does, of the entity or of
// the parent it cascades to. Otherwise it notes the shards that draws should spare.
func (a *acquire) rejectFromMemory() *ExceededError {
	o := a.child.owner
	child := a.recall(o, a.req.EntityID)
	a.avoid = child.mask
	parentID := o.parent()
	if parentID == "" {
		if child.short {
			return &ExceededError{Statuses: child.judged}
		}
		return nil
	}
	if !child.known {
		return nil
	}
	// The parent may be disabled, which outranks a rejection: without its image nothing is said.
	parent := a.recall(a.l.owners.get(parentID, a.req.Resource), parentID)
	a.avoidParent = parent.mask
	if parent.known && (child.short || parent.short) {
		if child.judged == nil {
			child.judged = a.judgeAny(o, a.req.EntityID)
		}
		return &ExceededError{Statuses: append(child.judged, parent.judged...)}
	}
	return nil
}

// judgeAny judges the first trusted image, for a rejection that another bucket causes.
func (a *acquire) judgeAny(o *owner, entity string) []LimitStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	for s := range o.images {
		if a.usable(&o.images[s]) {
			statuses, _ := a.judgeImage(&BucketKey{entity, a.req.Resource, s}, &o.images[s].image)
			return statuses
		}
	}
	return nil
}
