// Package expression parses and evaluates the expressions of requests: conditions and filters,
// updates, projections and key conditions.
//
// A text is parsed once into a form without the request's placeholders, which a [Cache] keeps. For
// each request the form is bound to the names and values of that request ([Bind]), checked, and
// evaluated against items. Every error has the text that the service gives it.
package expression
