// Package webui holds the pages of the web UI: Locust's own UI (npm package locust-ui, MIT) with a tab
// of ours, built from web/ in the repository. The built files are committed, so compiling needs no
// JavaScript; "make web" builds them anew and "make web-check" says whether they are what web/ gives.
package webui

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Pages returns the files of the UI: index.html, in which the server replaces {{.Args}} (what the page
// knows from the start, as JSON) and {{.Nonce}} (of its script), and assets/, whose names change with
// their content. Nothing in them refers to another server.
func Pages() fs.FS {
	pages, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a constant that is valid
	}
	return pages
}
