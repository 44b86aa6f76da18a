package limiter

// Admin administers what a Limiter enforces: namespaces' entities, limits and flags. What it changes,
// the Limiter it belongs to sees at once, and other processes when their caches expire. It is safe for
// concurrent use and has nothing to close.
//
// Its methods validate their arguments (*ValidationError) before they send anything, and fail with
// ErrNoAdmin on a store that implements no AdminStore.
type Admin struct {
	l     *Limiter
	store AdminStore // nil when the Limiter's store has none
}

// Admin returns the administration of the limiter's namespace.
func (l *Limiter) Admin() *Admin { return &Admin{l: l, store: l.admin} }

// check returns the first error of a call's arguments, and otherwise whether there is anything to
// administer.
func (a *Admin) check(arguments ...error) error {
	for _, err := range arguments {
		if err != nil {
			return err
		}
	}
	if a.store == nil {
		return ErrNoAdmin
	}
	return nil
}
