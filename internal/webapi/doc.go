// Package webapi serves Locust's HTTP API and the web UI over a [Controller], which is what it
// controls: a master or a runner in the same process.
//
// Paths, methods, keys, types and status codes are those of Locust 2.47; GET is also accepted where
// older releases had it (/stop, /stats/reset). Figures are views of a [stats.Snapshot]: they come from
// exact histograms and are rounded only where Locust's JSON has whole numbers; beside those stand keys
// of our own with the exact value (names that end in _ms).
//
// Where Locust accepts anything, this server is stricter: a request that a browser sends on behalf of
// another site is refused, a server on loopback answers only to names of the machine itself, bodies
// and headers are limited, and with a token every request has to show it.
package webapi
