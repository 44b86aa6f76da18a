// Package locust has tests only: Locust's workers on our master, our workers on Locust's master, and what
// scripts and browsers see, against the real programs. They need the build tag interop and the
// interpreters that interop/run installs; the list of what has to work, by number, is in list_test.go.
package locust
