// Package dynamolocal is an embedded engine that behaves like DynamoDB: tables with secondary
// indexes, conditional writes, transactions, batches, TTL, consumed capacity, and the service's
// errors word for word. It keeps everything in memory.
//
// An [Engine] is an http.Handler, so any HTTP server can serve it to any AWS SDK; [Engine.Serve] is
// a faster server of its own. [Engine.Client] calls the same engine in process, with the methods and
// types of the SDK's client. Both ways share validation, throttling, latency and faults.
//
// Models of the service's latency and throughput and a list of faults can be switched on in the
// [Config]; the zero Config is a plain engine without delays or limits. Signatures are not verified.
package dynamolocal
