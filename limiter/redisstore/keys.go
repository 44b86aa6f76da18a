package redisstore

import (
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// keyRoot is how every key starts. The namespace follows in braces: what a cluster places keys by.
const keyRoot = "zae:"

func keyPrefix(namespace string) string { return keyRoot + "{" + namespace + "}/" }

func validateNamespace(name string) error {
	if name == "" || len(name) > 64 {
		return invalid("namespace", name, "must have 1 to 64 characters")
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-_.", c) < 0 {
			return invalid("namespace", name, "must contain only letters, digits and -_.")
		}
	}
	return nil
}

func invalid(field, value, reason string) error {
	if len(value) > 50 {
		value = value[:50] + "..."
	}
	return &limiter.ValidationError{Field: field, Value: value, Reason: reason}
}

func (s *Store) bucketKey(k limiter.BucketKey) string {
	return s.prefix + "BUCKET#" + k.EntityID + "#" + k.Resource + "#" + strconv.Itoa(k.Shard)
}

func (s *Store) entityKey(id string) string   { return s.prefix + "ENTITY#" + id }
func (s *Store) childrenKey(id string) string { return s.prefix + "CHILDREN#" + id }

func (s *Store) configKey(k limiter.ConfigKey) string {
	return s.prefix + "CONFIG#" + k.EntityID + "#" + k.Resource
}

func (s *Store) bucketsKey(resource string) string { return s.prefix + "BUCKETS#" + resource }
func (s *Store) resourcesKey() string              { return s.prefix + "RESOURCES" }

func (s *Store) resourceConfigsKey() string { return s.prefix + "RESOURCE_CONFIGS" }
func (s *Store) entityConfigKey(resource string) string {
	return s.prefix + "ENTITY_CONFIG#" + resource
}
func (s *Store) entityConfigsKey() string { return s.prefix + "ENTITY_CONFIGS" }

func (s *Store) operationKey(entityID, resource, id string) string {
	return s.prefix + "OP#" + entityID + "#" + resource + "#" + id
}

func (s *Store) operationsKey(entityID string) string { return s.prefix + "OPS#" + entityID }
func (s *Store) auditKey(subject string) string       { return s.prefix + "AUDIT#" + subject }
func (s *Store) managedKey() string                   { return s.prefix + "MANAGED" }

// member names a bucket in the listing of its resource: entity#shard.
func member(k limiter.BucketKey) string { return k.EntityID + "#" + strconv.Itoa(k.Shard) }

func parseMember(text, resource string) (limiter.BucketKey, bool) {
	entity, shard, _ := strings.Cut(text, "#")
	n, err := strconv.Atoi(shard)
	return limiter.BucketKey{EntityID: entity, Resource: resource, Shard: n}, err == nil
}
