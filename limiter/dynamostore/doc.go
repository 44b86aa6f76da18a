// Package dynamostore keeps the limiter's buckets, configs, entities and namespaces in a DynamoDB
// table, in the layout of zae-limiter (Python) 0.17 (schema 0.10.0), so that clients of both
// languages can share one table.
//
// A [Table] is a table seen through an [API] (usually a *dynamodb.Client): it creates and checks the
// table and manages the namespaces in it. A [Store] is one namespace of a table; it implements
// limiter.Store and limiter.AdminStore. The store translates and decides nothing: which request is
// made, and what an outcome means for an acquire, is the limiter's business.
//
// # Retries
//
// The writes that add to counters (create, normal, retry, adjust and speculative writes) are not
// idempotent. The SDK retries requests whose outcome is unknown (a lost connection, a time-out, a
// 500), and a retried write of that kind would charge twice. Each of them is therefore sent with a
// retryer that repeats a request only after the service said that it throttled it, in which case
// nothing was written. A lost reply is one failed request.
//
// # Speed
//
// A client made by [NewClient] differs from the SDK's default in what costs time on each request
// and has no use here: the endpoint is resolved once, endpoint discovery is off, the transport keeps
// as many idle connections as its pool may open, asks for no compression and is called directly
// instead of through an http.Client (no redirects, cookies or second time-out). Request bodies are
// handed to net/http as plain bytes: it sends any other kind after its headers, in a second system
// call, and drops the connection when the reply is faster than the end of that body, which with a
// server nearby happens to one request in twenty. Credentials given as a value are used as they are:
// making the client looks nothing up and opens no connection.
//
// A client made by [NewLeanClient] sends the same requests without the SDK's client, for a sixth of its
// processor time: the caller's goroutine writes a signed request in one piece over a connection that is
// kept, and reads the reply where it lies. What a user sees of it is the same: retries, their quota,
// errors and their texts.
//
// The reply to a speculative write is read by a reader of this package (see flatProtocol), which
// knows what a bucket looks like and leaves everything else to the SDK.
package dynamostore
