package locustfile

import (
	"path/filepath"
	"sort"
	"strings"
)

// Source is the text of a locustfile or of a module.
type Source struct {
	// Path is relative to a directory that holds all sources of the file, with slashes.
	Path string
	Text string
	// Main is set for files that were given, and not for those that they load.
	Main bool
}

// relativeSources returns what was loaded with paths below the nearest directory that holds it all,
// at least the one given with -C when everything is in there: modules are loaded relative to it, too.
func (l *loader) relativeSources() []Source {
	root := l.root
	for _, s := range l.sources {
		for !holdsPath(root, s.Path) {
			root = filepath.Dir(root)
		}
	}
	sources := make([]Source, len(l.sources))
	for i, s := range l.sources {
		relative, _ := filepath.Rel(root, s.Path) // it is within
		sources[i] = Source{Path: filepath.ToSlash(relative), Text: s.Text, Main: s.Main}
	}
	sort.SliceStable(sources, func(i, j int) bool { return sources[i].Main && !sources[j].Main })
	return sources
}

// holdsPath reports whether a directory holds a path; the root of a volume holds everything.
func holdsPath(dir, path string) bool {
	return dir == filepath.Dir(dir) || strings.HasPrefix(path, dir+string(filepath.Separator))
}
