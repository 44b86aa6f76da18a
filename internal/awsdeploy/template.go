// Package awsdeploy is what this program puts on AWS: the templates of the limiter's stack and of the
// load test's, their parameters, the checks before they are applied, and the policies that the caller
// needs. How stacks are worked on is in package stack, what runs in them in package artifact.
package awsdeploy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	//go:embed templates/load.yaml
	loadTemplate string
	//go:embed templates/limiter.yaml
	limiterTemplate string
)

// maxTemplate is the size in bytes up to which a template can stand in a request (aws.md 5.9).
const maxTemplate = 51200

// LoadTemplate is the template of a load test's stack.
func LoadTemplate() string { return loadTemplate }

// LimiterTemplate is the template of a limiter's stack. Without localIndexes it is the variant for a table
// that was made without local secondary indexes: they cannot be added, and CloudFormation would put an
// empty table in place of the one that has none (aws.md 2.3).
func LimiterTemplate(localIndexes bool) (string, error) {
	if localIndexes {
		return limiterTemplate, nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(limiterTemplate), &document); err != nil {
		return "", fmt.Errorf("limiter template: %w", err)
	}
	properties := lookup(document.Content[0], "Resources", "RateLimitsTable", "Properties")
	remove(properties, "LocalSecondaryIndexes")
	definitions := lookup(properties, "AttributeDefinitions")
	definitions.Content = slices.DeleteFunc(definitions.Content, func(n *yaml.Node) bool {
		return strings.HasPrefix(lookup(n, "AttributeName").Value, "LSI")
	})
	return encodeTemplate(&document)
}

func encodeTemplate(document *yaml.Node) (string, error) {
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	if text.Len() > maxTemplate {
		return "", fmt.Errorf("template of %d bytes: at most %d are allowed", text.Len(), maxTemplate)
	}
	return text.String(), nil
}

// lookup follows keys through mappings; nil when one is not there.
func lookup(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		i := position(n, key)
		if i < 0 {
			return nil
		}
		n = n.Content[i+1]
	}
	return n
}

// position is the index of a key among the contents of a mapping, -1 when it is not there.
func position(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func remove(n *yaml.Node, key string) {
	if i := position(n, key); i >= 0 {
		n.Content = slices.Delete(n.Content, i, i+2)
	}
}
