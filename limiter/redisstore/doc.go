// Package redisstore keeps the limiter's items in Redis or Valkey: a limiter.Store and limiter.AdminStore with
// the conditions and outcomes of the table in DynamoDB, each operation one server-side script. It shares
// no data with tables.
//
// All keys of a namespace carry it as their hash tag, so that a script may touch any of them: a child and its
// parent, their owners, the listings. In a cluster a namespace lives on one node, and namespaces spread over
// the nodes. The keys are zae:{ns}/ and
//
//	BUCKET#entity#resource#shard   a bucket; goes an hour after its ttl
//	BUCKETS#resource               which buckets a resource has, by when they go
//	RESOURCES                      the resources that have buckets
//	ENTITY#id, CHILDREN#id         an entity; whose parent it is
//	CONFIG#entity#resource         a config level, one of the two or both empty
//	RESOURCE_CONFIGS               resources with a level
//	ENTITY_CONFIG#resource         entities with a level for the resource
//	ENTITY_CONFIGS                 the resources of these
//	OP#entity#resource#id, OPS#id  a reset or top-up, which goes with its ttl; those of an entity
//	AUDIT#subject                  audit events
//	MANAGED                        what a manifest declares
//
// Times are those of the callers, balances are exact up to 4*10^18 millitokens, and nothing else should
// write there. What the server evicts is gone: use it with maxmemory-policy noeviction.
package redisstore
