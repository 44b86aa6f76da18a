// Package artifact makes what runs on AWS from this program's Linux binary and a folder of locustfiles:
// the image of the task and the package of the function, both stamped with one build id, and sends them.
// The same input gives the same bytes, so that what is there already is not sent again.
package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Limits of the files of a folder. The function's package may have 50 MB with the binary.
const (
	maxFilesBytes = 30 << 20
	maxFiles      = 2000
)

// File is one file that is shipped.
type File struct {
	// Name is the path below the folder, with slashes.
	Name string
	Data []byte
}

// Files are the contents of a folder.
type Files struct {
	Dir string
	// List is sorted by name.
	List []File
	// Skipped are the folders and files that were left out, sorted, folders with a slash at the end.
	Skipped []string
}

// Bytes is the size of all files together.
func (f *Files) Bytes() int64 {
	var n int64
	for i := range f.List {
		n += int64(len(f.List[i].Data))
	}
	return n
}

// Has reports whether there is a file of that name, a path with slashes below the folder.
func (f *Files) Has(name string) bool {
	_, found := slices.BinarySearchFunc(f.List, path.Clean(name), func(file File, name string) int { return strings.Compare(file.Name, name) })
	return found
}

// Collect reads a folder: everything but hidden files, virtual environments, compiled Python and links
// that lead out of it. What is too much to be meant is refused, with the largest files by name.
func Collect(dir string) (*Files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("folder of the locustfiles: %w", err)
	}
	defer root.Close()
	files := &Files{Dir: dir}
	sizes := map[string]int64{}
	var total int64
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if entry.IsDir() {
			if skipped(root, name, entry) {
				files.Skipped = append(files.Skipped, name+"/")
				return fs.SkipDir
			}
			return nil
		}
		info, err := root.Stat(name) // follows links, not out of the folder
		if strings.HasPrefix(entry.Name(), ".") || err != nil || !info.Mode().IsRegular() {
			files.Skipped = append(files.Skipped, name)
			return nil
		}
		sizes[name] = info.Size()
		if total += info.Size(); total > maxFilesBytes || len(sizes) > maxFiles {
			return tooMuch(dir, sizes, total)
		}
		data, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		files.List = append(files.List, File{Name: name, Data: data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("folder of the locustfiles: %w", err)
	}
	sort.Slice(files.List, func(i, j int) bool { return files.List[i].Name < files.List[j].Name })
	slices.Sort(files.Skipped)
	return files, nil
}

// skipped reports whether a folder is none of the user's own files.
func skipped(root *os.Root, name string, entry fs.DirEntry) bool {
	if strings.HasPrefix(entry.Name(), ".") || entry.Name() == "__pycache__" || entry.Name() == "node_modules" {
		return true
	}
	_, err := root.Stat(path.Join(name, "pyvenv.cfg"))
	return err == nil
}

func tooMuch(dir string, sizes map[string]int64, total int64) error {
	type sized struct {
		name string
		size int64
	}
	var list []sized
	for name, size := range sizes {
		list = append(list, sized{name, size})
	}
	sort.Slice(list, func(i, j int) bool {
		return cmp.Or(cmp.Compare(list[j].size, list[i].size), strings.Compare(list[i].name, list[j].name)) < 0
	})
	var text strings.Builder
	for _, f := range list[:min(5, len(list))] {
		fmt.Fprintf(&text, "\n  %8.1f MB  %s", float64(f.size)/(1<<20), f.name)
	}
	return fmt.Errorf("%s has more than can be shipped (found so far: %d files, %.1f MB; at most %d files, %d MB); give the folder with the locustfiles alone by -C. The largest:%s",
		dir, len(sizes), float64(total)/(1<<20), maxFiles, maxFilesBytes>>20, text.String())
}

// ErrOutside says that a locustfile is not below the folder that is shipped.
var ErrOutside = errors.New("not in the folder that is shipped")

// Inside turns the path of a locustfile, as given on the command line, into its name below the folder.
// As everywhere a path is relative to the folder; one that is not there is tried relative to the working
// directory. A .py file stands for its .star twin.
func (f *Files) Inside(file string) (string, error) {
	twin := file
	if filepath.Ext(file) == ".py" {
		twin = strings.TrimSuffix(file, ".py") + ".star"
	}
	if name := filepath.ToSlash(filepath.Clean(twin)); f.Has(name) {
		return name, nil
	}
	if relative, ok := f.relative(twin); ok && f.Has(relative) {
		return relative, nil
	}
	return "", fmt.Errorf("locustfile %s: %w; tried %s", file, ErrOutside, filepath.Join(f.Dir, twin))
}

func (f *Files) relative(file string) (string, bool) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return "", false
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return "", false
	}
	name, err := filepath.Rel(dir, absolute)
	if err != nil || !filepath.IsLocal(name) {
		return "", false
	}
	return filepath.ToSlash(name), true
}
