package template

import (
	"encoding/base64"
	"encoding/binary"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Resolver knows what is outside the template: the resources that were made and other stacks' exports.
type Resolver interface {
	Ref(logicalID string) (string, error)
	Attribute(logicalID, name string) (string, error)
	Import(export string) (string, error)
}

// functions are the functions that are played.
var functions = []string{
	"Ref", "Fn::And", "Fn::Base64", "Fn::Cidr", "Fn::Equals", "Fn::FindInMap", "Fn::GetAZs", "Fn::GetAtt", "Fn::If",
	"Fn::ImportValue", "Fn::Join", "Fn::Not", "Fn::Or", "Fn::Select", "Fn::Split", "Fn::Sub",
}

// Resolve evaluates the functions in a value of the instance. A nil resolver is enough for a value that
// refers to no resource and imports nothing. The result shares nothing with the template.
func (i *Instance) Resolve(value any, r Resolver) (any, error) {
	switch v := value.(type) {
	case map[string]any:
		if name, argument, ok := function(v); ok {
			return i.call(name, argument, r)
		}
		out := make(map[string]any, len(v))
		for key, member := range v {
			var err error
			if out[key], err = i.Resolve(member, r); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for n, item := range v {
			var err error
			if out[n], err = i.Resolve(item, r); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return value, nil
}

// Properties evaluates the properties of one of the instance's resources.
func (i *Instance) Properties(logicalID string, r Resolver) (map[string]any, error) {
	resolved, err := i.Resolve(i.Resources[logicalID].Properties, r)
	if err != nil {
		return nil, err
	}
	properties, ok := resolved.(map[string]any)
	if !ok {
		return nil, Errorf("Template format error: [/Resources/%s/Properties] Properties must be an object.", logicalID)
	}
	return properties, nil
}

// Imports are the exports that the instance's resources and outputs import, each once, sorted.
func (i *Instance) Imports() ([]string, error) {
	var problem error
	names := map[string]bool{}
	collect := func(function string, argument any) {
		if function != "Fn::ImportValue" || problem != nil {
			return
		}
		name, err := i.Resolve(argument, nil)
		if err != nil {
			problem = err
		} else {
			names[Text(name)] = true
		}
	}
	for _, r := range i.Resources {
		visit(r.Properties, collect)
	}
	for _, o := range i.Outputs {
		visit([]any{o.Value, o.Export}, collect)
	}
	return slices.Sorted(maps.Keys(names)), problem
}

func (i *Instance) call(name string, argument any, r Resolver) (any, error) {
	switch name {
	case "Ref":
		return i.ref(Text(argument), r)
	case "Fn::GetAtt":
		resource, attribute, _ := getAtt(argument)
		return i.attribute(resource, attribute, r)
	case "Fn::Sub":
		return i.sub(argument, r)
	}
	resolved, err := i.Resolve(argument, r)
	if err != nil {
		return nil, err
	}
	arguments, _ := resolved.([]any)
	switch name {
	case "Fn::Join":
		return join(arguments)
	case "Fn::Select":
		return selectItem(arguments)
	case "Fn::Split":
		return split(arguments)
	case "Fn::FindInMap":
		return i.findInMap(arguments)
	case "Fn::GetAZs":
		return i.zones(Text(resolved)), nil
	case "Fn::Cidr":
		return cidr(arguments)
	case "Fn::Base64":
		return base64.StdEncoding.EncodeToString([]byte(Text(resolved))), nil
	case "Fn::ImportValue":
		if r == nil {
			return nil, Errorf("Template error: Fn::ImportValue cannot be used here")
		}
		return r.Import(Text(resolved))
	}
	return nil, Errorf("Template format error: Unrecognized function %s", name)
}

func (i *Instance) ref(name string, r Resolver) (any, error) {
	if p := i.template.Parameters[name]; p != nil {
		if !p.List() {
			return i.values[name], nil
		}
		return anySlice(p.Items(i.values[name])), nil
	}
	e := &i.environment
	switch name {
	case "AWS::AccountId":
		return e.Account, nil
	case "AWS::NotificationARNs":
		return anySlice(e.NotificationARNs), nil
	case "AWS::Partition":
		return e.Partition, nil
	case "AWS::Region":
		return e.Region, nil
	case "AWS::StackId":
		return e.StackID, nil
	case "AWS::StackName":
		return e.StackName, nil
	case "AWS::URLSuffix":
		return e.URLSuffix, nil
	}
	if r == nil {
		return nil, Errorf("Template error: resource %s cannot be referenced here", name)
	}
	return r.Ref(name)
}

func (i *Instance) attribute(resource, attribute string, r Resolver) (any, error) {
	if r == nil {
		return nil, Errorf("Template error: resource %s cannot be referenced here", resource)
	}
	return r.Attribute(resource, attribute)
}

func (i *Instance) sub(argument any, r Resolver) (any, error) {
	pattern, local, _ := subOf(argument)
	var problem error
	out := variable.ReplaceAllStringFunc(pattern, func(match string) string {
		name := strings.TrimSpace(match[2 : len(match)-1])
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			return "${" + literal + "}"
		}
		var value any
		var err error
		if own, ok := local[name]; ok {
			value, err = i.Resolve(own, r)
		} else if resource, attribute, ok := strings.Cut(name, "."); ok {
			value, err = i.attribute(resource, attribute, r)
		} else {
			value, err = i.ref(name, r)
		}
		if _, isList := value.([]any); isList && err == nil {
			err = Errorf("Template error: variable %s in Fn::Sub expression does not resolve to a string", name)
		}
		if err != nil && problem == nil {
			problem = err
		}
		return Text(value)
	})
	return out, problem
}

func join(arguments []any) (any, error) {
	if len(arguments) != 2 {
		return nil, Errorf("Template error: every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined.")
	}
	list, ok := arguments[1].([]any)
	if !ok {
		return nil, Errorf("Template error: every Fn::Join object requires a list of strings to be joined")
	}
	texts := make([]string, len(list))
	for n, item := range list {
		texts[n] = Text(item)
	}
	return strings.Join(texts, Text(arguments[0])), nil
}

func selectItem(arguments []any) (any, error) {
	if len(arguments) != 2 {
		return nil, Errorf("Template error: Fn::Select requires a list argument with two elements: an integer index and a list")
	}
	index, err := strconv.Atoi(Text(arguments[0]))
	list, ok := arguments[1].([]any)
	if err != nil || !ok {
		return nil, Errorf("Template error: Fn::Select requires a list argument with two elements: an integer index and a list")
	}
	if index < 0 || index >= len(list) {
		return nil, Errorf("Template error: Fn::Select cannot select nonexistent value at index %d", index)
	}
	return list[index], nil
}

func split(arguments []any) (any, error) {
	if len(arguments) != 2 || Text(arguments[0]) == "" {
		return nil, Errorf("Template error: every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split or a function that returns a string to be split.")
	}
	return anySlice(strings.Split(Text(arguments[1]), Text(arguments[0]))), nil
}

func (i *Instance) findInMap(arguments []any) (any, error) {
	if len(arguments) != 3 {
		return nil, Errorf("Template error: every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value")
	}
	name, top, second := Text(arguments[0]), Text(arguments[1]), Text(arguments[2])
	mapping, ok := i.template.mappings[name].(map[string]any)
	if !ok {
		return nil, Errorf("Template error: Mapping named '%s' is not present in the 'Mappings' section of template.", name)
	}
	keys, _ := mapping[top].(map[string]any)
	value, ok := keys[second]
	if !ok {
		return nil, Errorf("Template error: Unable to get mapping for %s::%s::%s", name, top, second)
	}
	return i.Resolve(value, nil) // a copy: mappings hold no functions
}

// zones are the availability zones of this region; only this region is known.
func (i *Instance) zones(region string) []any {
	if region != "" && region != i.environment.Region {
		return []any{}
	}
	return anySlice(i.environment.Zones)
}

// maxCIDRs is how many blocks Fn::Cidr can give.
const maxCIDRs = 256

// cidr cuts a block into count blocks, each with the given number of host bits.
func cidr(arguments []any) (any, error) {
	wrong := Errorf("Template error: Fn::Cidr requires an IP block, a count between 1 and 256, and the number of host bits")
	if len(arguments) < 2 || len(arguments) > 3 {
		return nil, wrong
	}
	block, err := netip.ParsePrefix(Text(arguments[0]))
	if err != nil {
		return nil, wrong
	}
	width := block.Addr().BitLen()
	bits := 8
	if width == 128 {
		bits = 64
	}
	if len(arguments) == 3 {
		if bits, err = strconv.Atoi(Text(arguments[2])); err != nil {
			return nil, wrong
		}
	}
	count, err := strconv.Atoi(Text(arguments[1]))
	room := width - bits - block.Bits()
	if err != nil || count < 1 || count > maxCIDRs || bits < 1 || room < 0 {
		return nil, wrong
	}
	if room < 8 && count > 1<<room {
		return nil, wrong
	}
	out := make([]any, count)
	for n := range out {
		out[n] = netip.PrefixFrom(plus(block.Masked().Addr(), n, bits), width-bits).String()
	}
	return out, nil
}

// plus is the address that lies n times 2^bits above another one.
func plus(address netip.Addr, n, bits int) netip.Addr {
	if address.Is4() {
		octets := address.As4()
		binary.BigEndian.PutUint32(octets[:], binary.BigEndian.Uint32(octets[:])+uint32(n)<<bits)
		return netip.AddrFrom4(octets)
	}
	octets := address.As16()
	sum := new(big.Int).SetBytes(octets[:])
	sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(n)), uint(bits)))
	sum.FillBytes(octets[:])
	return netip.AddrFrom16(octets)
}

func anySlice(texts []string) []any {
	out := make([]any, len(texts))
	for n, item := range texts {
		out[n] = item
	}
	return out
}
