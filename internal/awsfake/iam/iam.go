// Package iam plays IAM and STS: users, roles, policies, access keys and sessions of one account, and
// the decision whether a caller may do something.
package iam

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Options configure an account.
type Options struct {
	// Account is the account's number.
	Account string
	// Now is the clock; nil = time.Now.
	Now func() time.Time
	// SessionLifetime is how long the keys of tasks and functions are good; 0 = 6 hours.
	SessionLifetime time.Duration
	// Decided is told every decision about a caller that is not unrestricted. It may be called from
	// several goroutines at once and must not call back. May be nil.
	Decided func(Decision)
}

// IAM is the access management of one account. It is safe for concurrent use.
type IAM struct {
	account  string
	now      func() time.Time
	lifetime time.Duration
	decided  func(Decision)

	mu       sync.RWMutex
	users    map[string]*principal
	roles    map[string]*principal
	policies map[string]*policy // by ARN
	keys     map[string]*accessKey
	holders  map[string]holder // by authorization token of a container
}

// principal is a user or a role.
type principal struct {
	Name, Path, ID, ARN, Description string
	Created                          time.Time
	Tags                             map[string]string
	// MaxSession is the longest session of a role, in seconds.
	MaxSession int32
	// Attached are ARNs of managed policies, Inline documents by name, Boundary an ARN or "".
	Attached []string
	Inline   map[string]string
	Boundary string
	// Trust says who may assume a role.
	Trust string

	// parsed are the documents of Inline and Trust by their text.
	parsed map[string]document
}

// policy is a managed policy; the last version is the default one.
type policy struct {
	Name, Path, ID, ARN, Description string
	Created                          time.Time
	Versions                         []version
	Tags                             map[string]string
}

type version struct {
	ID, Document string
	Created      time.Time

	parsed document
}

// accessKey is a pair of keys and who uses it: a user, or a session of a role.
type accessKey struct {
	ID, Secret, Token string
	User, Role        string
	Session           string
	Tags, Conditions  map[string]string // session tags, keys of every call
	Expires           time.Time         // zero = never
}

// adminName is the user whose keys the account is handed out with; it may do everything.
const adminName = "admin"

// New makes an account with one user who may do everything.
func New(o Options) *IAM {
	i := &IAM{
		account: o.Account, now: o.Now, lifetime: cmp.Or(o.SessionLifetime, 6*time.Hour), decided: o.Decided,
		users: map[string]*principal{}, roles: map[string]*principal{}, policies: map[string]*policy{},
		keys: map[string]*accessKey{}, holders: map[string]holder{},
	}
	if i.now == nil {
		i.now = time.Now
	}
	for arn, text := range awsManaged {
		path, name := splitName(strings.TrimPrefix(arn, "arn:aws:iam::aws:policy"))
		doc, err := parsePolicy(text, false)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", arn, err)) // a constant of this package
		}
		i.policies[arn] = &policy{Name: name, Path: path, ID: uniqueID("ANPA"), ARN: arn, Versions: []version{{ID: "v1", Document: text, parsed: doc}}}
	}
	i.users[adminName] = &principal{
		Name: adminName, Path: "/", ID: uniqueID("AIDA"), ARN: i.arn("user", "/", adminName), Created: i.now(),
		Attached: []string{"arn:aws:iam::aws:policy/AdministratorAccess"}, Inline: map[string]string{},
	}
	i.addKey(&accessKey{ID: uniqueID("AKIA"), User: adminName})
	return i
}

// Admin returns the access key of the user who may do everything.
func (i *IAM) Admin() (key, secret string) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(i.keys)) {
		if k := i.keys[id]; k.User == adminName {
			return k.ID, k.Secret
		}
	}
	return "", ""
}

// AddUser makes a user with one inline policy and returns an access key of it.
func (i *IAM) AddUser(name, policyDocument string) (key, secret string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	u, err := i.createUser(name, "/", nil)
	if err != nil {
		return "", "", err
	}
	if err := u.putInline("inline", policyDocument); err != nil {
		delete(i.users, name)
		return "", "", err
	}
	k := i.addKey(&accessKey{ID: uniqueID("AKIA"), User: name})
	return k.ID, k.Secret, nil
}

func (i *IAM) createUser(name, path string, tags map[string]string) (*principal, error) {
	if i.users[name] != nil {
		return nil, conflict("User with name %s already exists.", name)
	}
	u := &principal{Name: name, Path: path, ID: uniqueID("AIDA"), ARN: i.arn("user", path, name), Created: i.now(), Tags: tags, Inline: map[string]string{}}
	i.users[name] = u
	return u, nil
}

// createRole checks and adds a role.
func (i *IAM) createRole(r principal) (*principal, error) {
	if i.roles[r.Name] != nil {
		return nil, conflict("Role with name %s already exists.", r.Name)
	}
	if len(r.Name) == 0 || len(r.Name) > 64 {
		return nil, protocol.Errorf("ValidationError", "1 validation error detected: Value '%s' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64", r.Name)
	}
	r.Path = cmp.Or(r.Path, "/")
	r.ID, r.ARN, r.Created = uniqueID("AROA"), i.arn("role", r.Path, r.Name), i.now()
	r.MaxSession = cmp.Or(r.MaxSession, 3600)
	r.Inline = map[string]string{}
	if err := r.setTrust(r.Trust); err != nil {
		return nil, err
	}
	if r.Boundary != "" && i.policies[r.Boundary] == nil {
		return nil, noPolicy(r.Boundary)
	}
	i.roles[r.Name] = &r
	return &r, nil
}

func (p *principal) setTrust(text string) error {
	doc, err := parsePolicy(text, true)
	if err != nil {
		return malformedPolicy(err)
	}
	p.Trust = text
	p.remember(doc)
	return nil
}

func (p *principal) putInline(name, text string) error {
	doc, err := parsePolicy(text, false)
	if err != nil {
		return malformedPolicy(err)
	}
	p.Inline[name] = text
	p.remember(doc)
	return nil
}

func (p *principal) remember(doc document) {
	if p.parsed == nil {
		p.parsed = map[string]document{}
	}
	p.parsed[doc.text] = doc
}

func (i *IAM) attach(p *principal, arn string) error {
	if i.policies[arn] == nil {
		return noPolicy(arn)
	}
	if !slices.Contains(p.Attached, arn) {
		p.Attached = append(p.Attached, arn)
	}
	return nil
}

func (i *IAM) detach(p *principal, arn string) {
	p.Attached = slices.DeleteFunc(p.Attached, func(attached string) bool { return attached == arn })
}

func (i *IAM) createPolicy(p policy, text string) (*policy, error) {
	p.Path = cmp.Or(p.Path, "/")
	p.ARN = i.arn("policy", p.Path, p.Name)
	if i.policies[p.ARN] != nil {
		return nil, conflict("A policy called %s already exists. Duplicate names are not allowed.", p.Name)
	}
	p.ID, p.Created = uniqueID("ANPA"), i.now()
	if err := p.addVersion(text, p.Created); err != nil {
		return nil, err
	}
	i.policies[p.ARN] = &p
	return &p, nil
}

// versionsKept is how many versions a policy can have.
const versionsKept = 5

func (p *policy) addVersion(text string, at time.Time) error {
	doc, err := parsePolicy(text, false)
	if err != nil {
		return malformedPolicy(err)
	}
	number := 1
	if last := len(p.Versions); last > 0 {
		_, _ = fmt.Sscanf(p.Versions[last-1].ID, "v%d", &number)
		number++
	}
	p.Versions = append(p.Versions, version{ID: fmt.Sprintf("v%d", number), Document: text, Created: at, parsed: doc})
	if len(p.Versions) > versionsKept {
		p.Versions = p.Versions[1:]
	}
	return nil
}

func (p *policy) current() version { return p.Versions[len(p.Versions)-1] }

// attachments counts who has the policy attached.
func (i *IAM) attachments(arn string) int {
	count := 0
	for _, group := range []map[string]*principal{i.users, i.roles} {
		for _, p := range group {
			if slices.Contains(p.Attached, arn) {
				count++
			}
		}
	}
	return count
}

func (i *IAM) deletePolicy(arn string) error {
	if i.policies[arn] == nil {
		return noPolicy(arn)
	}
	if i.attachments(arn) > 0 {
		return deleteConflict("Cannot delete a policy attached to entities.")
	}
	delete(i.policies, arn)
	return nil
}

func (i *IAM) deleteRole(name string) error {
	r := i.roles[name]
	switch {
	case r == nil:
		return noRole(name)
	case len(r.Attached) > 0:
		return deleteConflict("Cannot delete entity, must detach all policies first.")
	case len(r.Inline) > 0:
		return deleteConflict("Cannot delete entity, must delete policies first.")
	}
	delete(i.roles, name)
	maps.DeleteFunc(i.keys, func(_ string, k *accessKey) bool { return k.Role == name })
	return nil
}

func (i *IAM) arn(kind, path, name string) string {
	return "arn:aws:iam::" + i.account + ":" + kind + path + name
}

// splitName splits /service-role/Name into path and name.
func splitName(full string) (path, name string) {
	at := strings.LastIndexByte(full, '/') + 1
	return full[:at], full[at:]
}

// nameOf is the last part of an ARN or of a path.
func nameOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// uniqueID makes an id in the form of IAM's.
func uniqueID(prefix string) string { return prefix + rand.Text()[:16] }

func randomSecret() string {
	var b [30]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func conflict(format string, args ...any) error {
	return &protocol.Error{Status: http.StatusConflict, Code: "EntityAlreadyExists", Message: fmt.Sprintf(format, args...)}
}

func deleteConflict(message string) error {
	return &protocol.Error{Status: http.StatusConflict, Code: "DeleteConflict", Message: message}
}

func absent(format string, args ...any) error {
	return &protocol.Error{Status: http.StatusNotFound, Code: "NoSuchEntity", Message: fmt.Sprintf(format, args...)}
}

func noRole(name string) error { return absent("The role with name %s cannot be found.", name) }
func noUser(name string) error { return absent("The user with name %s cannot be found.", name) }
func noPolicy(arn string) error {
	return absent("Policy %s does not exist or is not attachable.", arn)
}

func malformedPolicy(err error) error {
	return protocol.Errorf("MalformedPolicyDocument", "%v", err)
}

// saved is the account between runs; sessions are not kept, as their tasks have ended.
type saved struct {
	Users, Roles map[string]*principal
	Policies     map[string]*policy
	Keys         map[string]*accessKey
}

// MarshalJSON returns users, roles, policies and keys as JSON.
func (i *IAM) MarshalJSON() ([]byte, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	out := saved{Users: i.users, Roles: i.roles, Policies: map[string]*policy{}, Keys: map[string]*accessKey{}}
	for arn, p := range i.policies {
		if awsManaged[arn] == "" {
			out.Policies[arn] = p
		}
	}
	for id, k := range i.keys {
		if k.User != "" {
			out.Keys[id] = k
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON replaces the account's content by what MarshalJSON returned.
func (i *IAM) UnmarshalJSON(data []byte) error {
	var in saved
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	for _, p := range in.Policies {
		for n := range p.Versions {
			doc, err := parsePolicy(p.Versions[n].Document, false)
			if err != nil {
				return fmt.Errorf("policy %s: %w", p.ARN, err)
			}
			p.Versions[n].parsed = doc
		}
	}
	for _, group := range []map[string]*principal{in.Users, in.Roles} {
		for _, p := range group {
			if err := p.parse(); err != nil {
				return fmt.Errorf("%s: %w", p.ARN, err)
			}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.users, i.roles, i.keys = in.Users, in.Roles, in.Keys
	maps.DeleteFunc(i.policies, func(arn string, _ *policy) bool { return awsManaged[arn] == "" })
	maps.Copy(i.policies, in.Policies)
	return nil
}

// parse reads the documents of a principal that was loaded.
func (p *principal) parse() error {
	for name, text := range p.Inline {
		if err := p.putInline(name, text); err != nil {
			return err
		}
	}
	if p.Trust != "" {
		return p.setTrust(p.Trust)
	}
	return nil
}
