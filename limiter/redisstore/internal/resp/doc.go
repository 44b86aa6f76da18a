// Package resp speaks the protocol of Redis and Valkey servers: commands of many goroutines share a few
// connections and go out together, and replies are taken apart where they are read. It repeats no command
// whose outcome it does not know.
package resp
