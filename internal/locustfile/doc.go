// Package locustfile turns Starlark files into user classes, event listeners and load shapes of
// package loadtest.
//
// A file is executed once; then its globals are frozen and users run its functions in parallel. A
// user's state is a small object; an interpreter thread is lent to it while one of its functions
// runs. Every error names file, line and column, and at run time the function with its call stack.
package locustfile
