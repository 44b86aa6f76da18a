package iam

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// guard decides for one access key, with the policies as they are at the time of the call.
type guard struct {
	iam *IAM
	key *accessKey
	arn string
}

// Allow implements protocol.Guard.
func (g *guard) Allow(action, resource string, conditions map[string]string) error {
	g.iam.mu.RLock()
	defer g.iam.mu.RUnlock()
	p := g.iam.owner(g.key)
	if p == nil {
		return unknownKey()
	}
	r := g.iam.request(p, g.key, g.arn, action, resource, conditions)
	verdict, by := g.iam.evaluate(p, r)
	if g.iam.decided != nil {
		g.iam.decided(Decision{Principal: p.ARN, Action: action, Resource: resource, Allowed: verdict == allowed, request: r})
	}
	if verdict == allowed {
		return nil
	}
	reason := fmt.Sprintf("because no %s allows the %s action", by, action)
	if verdict == denied {
		reason = "with an explicit deny in " + article(by)
	}
	return &protocol.Error{
		Status: http.StatusForbidden, Code: "AccessDenied",
		Message: fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s %s", g.arn, action, resource, reason),
	}
}

// Decision is what was decided about one action on one resource.
type Decision struct {
	// Principal is the ARN of the user or of the role whose policies decided.
	Principal        string
	Action, Resource string
	Allowed          bool

	request request
}

// AllowedBy says whether one policy alone allows what was decided about, in the form of its JSON text.
func (d *Decision) AllowedBy(policyDocument string) (bool, error) {
	doc, err := parsePolicy(policyDocument, false)
	if err != nil {
		return false, err
	}
	return decide([]document{doc}, d.request) == allowed, nil
}

// Of is the same caller's question about another action and resource, with the same condition keys.
func (d *Decision) Of(action, resource string) *Decision {
	other := *d
	other.Action, other.Resource = action, resource
	other.request.action, other.request.resource = action, resource
	return &other
}

// The kinds of policies, as the texts of denials name them (aws.md 6.4).
const (
	identityPolicy = "identity-based policy"
	boundaryPolicy = "permissions boundary"
)

func article(kind string) string {
	if kind == identityPolicy {
		return "an " + kind
	}
	return "a " + kind
}

// evaluate is the decision of a principal's policies and of its boundary, and which of them made it.
func (i *IAM) evaluate(p *principal, r request) (verdict decision, by string) {
	own := decide(i.documents(p), r)
	if own == denied {
		return denied, identityPolicy
	}
	if p.Boundary != "" {
		limit := silent
		if boundary := i.policies[p.Boundary]; boundary != nil {
			limit = decide([]document{boundary.current().parsed}, r)
		}
		if limit != allowed && (own == allowed || limit == denied) {
			return limit, boundaryPolicy
		}
	}
	return own, identityPolicy
}

func (i *IAM) documents(p *principal) []document {
	documents := make([]document, 0, len(p.Inline)+len(p.Attached))
	for _, text := range p.Inline {
		documents = append(documents, p.parsed[text])
	}
	for _, arn := range p.Attached {
		if attached := i.policies[arn]; attached != nil {
			documents = append(documents, attached.current().parsed)
		}
	}
	return documents
}

// request adds the keys that every request has to those of the call.
func (i *IAM) request(p *principal, key *accessKey, arn, action, resource string, conditions map[string]string) request {
	keys := map[string][]string{
		"aws:principalarn":     {p.ARN},
		"aws:principalaccount": {i.account},
		"aws:userid":           {userID(key, p)},
	}
	if key.User != "" {
		keys["aws:username"] = []string{key.User}
		keys["aws:principaltype"] = []string{"User"}
	} else {
		keys["aws:principaltype"] = []string{"AssumedRole"}
	}
	for _, tags := range []map[string]string{p.Tags, key.Tags} {
		for name, value := range tags {
			keys["aws:principaltag/"+strings.ToLower(name)] = []string{value}
		}
	}
	for _, given := range []map[string]string{key.Conditions, conditions} {
		for name, value := range given {
			keys[strings.ToLower(name)] = protocol.Values(value)
		}
	}
	return request{action: action, resource: resource, keys: keys, principals: []string{"AWS:" + arn, "AWS:" + p.ARN, "AWS:" + i.arn("root", "", ""), "AWS:" + i.account}}
}

// trusts says whether a role's trust policy lets somebody assume it.
func (i *IAM) trusts(role *principal, principals []string, keys map[string][]string) bool {
	return decide([]document{role.parsed[role.Trust]}, request{action: "sts:AssumeRole", principals: principals, keys: keys}) == allowed
}

// Trusts returns an error when a service (as "ecs-tasks.amazonaws.com") may not assume a role.
// Conditions are keys such as aws:SourceAccount and aws:SourceArn.
func (i *IAM) Trusts(roleARN, service string, conditions map[string]string) error {
	i.mu.RLock()
	defer i.mu.RUnlock()
	role := i.roleOf(roleARN)
	if role == nil {
		return noRole(nameOf(roleARN))
	}
	keys := map[string][]string{}
	for name, value := range conditions {
		keys[strings.ToLower(name)] = protocol.Values(value)
	}
	if !i.trusts(role, []string{"Service:" + service}, keys) {
		return protocol.Errorf("AccessDenied", "the trust policy of %s does not allow %s to assume the role", roleARN, service)
	}
	return nil
}

func (i *IAM) roleOf(arn string) *principal {
	role := i.roles[nameOf(arn)]
	if role == nil || role.ARN != arn {
		return nil
	}
	return role
}

// owner is the user or role that a key stands for, nil when it is gone.
func (i *IAM) owner(k *accessKey) *principal {
	if k.User != "" {
		return i.users[k.User]
	}
	return i.roles[k.Role]
}

// unrestricted says whether nothing needs to be asked: the guard of such a caller is left out.
func unrestricted(p *principal) bool {
	return p.Boundary == "" && len(p.Inline) == 0 && slices.Equal(p.Attached, []string{"arn:aws:iam::aws:policy/AdministratorAccess"})
}
