package iam

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// addKey gives a key its secret and keeps it.
func (i *IAM) addKey(k *accessKey) *accessKey {
	k.Secret = randomSecret()
	i.keys[k.ID] = k
	return k
}

// Find implements protocol.Keys.
func (i *IAM) Find(id, token string) (*protocol.Identity, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	k := i.keys[id]
	if k == nil || k.Token != token {
		return nil, unknownKey()
	}
	if !k.Expires.IsZero() && !i.now().Before(k.Expires) {
		return nil, &protocol.Error{Status: http.StatusForbidden, Code: "ExpiredToken", Message: "The security token included in the request is expired"}
	}
	p := i.owner(k)
	if p == nil {
		return nil, unknownKey()
	}
	who := &protocol.Identity{Principal: i.principalARN(k, p), UserID: userID(k, p), Account: i.account, Secret: k.Secret}
	if !unrestricted(p) {
		who.Guard = &guard{iam: i, key: k, arn: who.Principal}
	}
	return who, nil
}

func unknownKey() error {
	return &protocol.Error{Status: http.StatusForbidden, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}
}

func (i *IAM) principalARN(k *accessKey, p *principal) string {
	if k.User != "" {
		return p.ARN
	}
	return "arn:aws:sts::" + i.account + ":assumed-role/" + p.Name + "/" + k.Session
}

// userID is the aws:userid of a key's owner.
func userID(k *accessKey, p *principal) string {
	if k.User != "" {
		return p.ID
	}
	return p.ID + ":" + k.Session
}

// Session makes keys for a task or a function that works as a role. name is the session's name, which
// the caller's ARN ends with; conditions are keys that every call with these keys carries, such as
// lambda:SourceFunctionArn. Whether the service may assume the role is for Trusts to say.
func (i *IAM) Session(roleARN, name string, conditions map[string]string) (key, secret, token string, expires time.Time, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	k, err := i.session(roleARN, name, i.lifetime, nil)
	if err != nil {
		return "", "", "", time.Time{}, err
	}
	k.Conditions = conditions
	return k.ID, k.Secret, k.Token, k.Expires, nil
}

// Guard is the check of what a service may do as a role, without keys; nil when that is everything.
func (i *IAM) Guard(roleARN, session string) (protocol.Guard, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	role := i.roleOf(roleARN)
	if role == nil {
		return nil, noRole(nameOf(roleARN))
	}
	if unrestricted(role) {
		return nil, nil
	}
	key := &accessKey{Role: role.Name, Session: session}
	return &guard{iam: i, key: key, arn: i.principalARN(key, role)}, nil
}

func (i *IAM) session(roleARN, name string, lifetime time.Duration, tags map[string]string) (*accessKey, error) {
	role := i.roleOf(roleARN)
	if role == nil {
		return nil, noRole(nameOf(roleARN))
	}
	now := i.now()
	for id, old := range i.keys { // those that are over need not be kept, once clients have seen ExpiredToken
		if !old.Expires.IsZero() && now.Sub(old.Expires) > i.lifetime {
			delete(i.keys, id)
		}
	}
	return i.addKey(&accessKey{
		ID: uniqueID("ASIA"), Token: randomSecret() + randomSecret(), Role: role.Name, Session: name, Tags: tags, Expires: now.Add(lifetime),
	}), nil
}

// holder is a container that may fetch the keys of its role.
type holder struct{ roleARN, session string }

// Hold returns an authorization token with which a container fetches keys of a role from
// CredentialsHandler, again and again, until Drop.
func (i *IAM) Hold(roleARN, session string) (token string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.roleOf(roleARN) == nil {
		return "", noRole(nameOf(roleARN))
	}
	token = rand.Text()
	i.holders[token] = holder{roleARN, session}
	return token, nil
}

// Drop ends what Hold began.
func (i *IAM) Drop(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.holders, token)
}

// CredentialsHandler answers containers that have AWS_CONTAINER_CREDENTIALS_FULL_URI and
// AWS_CONTAINER_AUTHORIZATION_TOKEN, the latter from Hold.
func (i *IAM) CredentialsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		held, ok := i.holders[r.Header.Get("Authorization")]
		var k *accessKey
		err := unknownKey()
		if ok {
			k, err = i.session(held.roleARN, held.session, i.lifetime, nil)
		}
		i.mu.Unlock()
		if err != nil {
			http.Error(w, `{"code":"AccessDenied","message":"no keys for this authorization token"}`, http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // a container that left needs no answer
			"RoleArn": held.roleARN, "AccessKeyId": k.ID, "SecretAccessKey": k.Secret, "Token": k.Token, "Expiration": k.Expires.UTC().Format(time.RFC3339),
		})
	})
}
