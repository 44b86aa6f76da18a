package protocol

import (
	"reflect"
	"strings"
	"time"
	"unicode"
)

// EC2's client has no schemas in its types, so that its answers are read by reflection: a member is its
// field's name with a small first letter, and a list is <singular>Set with <item> elements.

// ec2Names are the members that do not follow the rule, by type and field or by field.
var ec2Names = map[string]string{
	"SecurityGroup.Description": "groupDescription",
	"AvailabilityZone.State":    "zoneState",
	"SecurityGroups":            "securityGroupInfo",
	"AvailabilityZones":         "availabilityZoneInfo",
	"PrivateIpAddresses":        "privateIpAddressesSet",
	"TagSet":                    "tagSet",
	"IpPermissions":             "ipPermissions",
	"IpPermissionsEgress":       "ipPermissionsEgress",
	"IpRanges":                  "ipRanges",
	"Ipv6Ranges":                "ipv6Ranges",
	"PrefixListIds":             "prefixListIds",
	"UserIdGroupPairs":          "groups",
}

func ec2Tree(value reflect.Value) *object {
	out := &object{}
	for i := range value.NumField() {
		field := value.Type().Field(i)
		inner := value.Field(i)
		if !field.IsExported() || field.Name == "ResultMetadata" || inner.IsZero() && !shownEmpty(field) {
			continue
		}
		name := ec2Name(value.Type().Name(), field)
		out.members = append(out.members, member{name: name, element: name, value: ec2Value(inner)})
	}
	return out
}

// shownEmpty says whether a member is there without content: EC2 leaves out empty lists of tags only.
func shownEmpty(field reflect.StructField) bool {
	return field.Type.Kind() == reflect.Slice && !strings.HasPrefix(field.Name, "Tag")
}

func ec2Name(structure string, field reflect.StructField) string {
	if name, ok := ec2Names[structure+"."+field.Name]; ok {
		return name
	}
	if name, ok := ec2Names[field.Name]; ok {
		return name
	}
	name := string(unicode.ToLower(rune(field.Name[0]))) + field.Name[1:]
	if field.Type.Kind() != reflect.Slice {
		return name
	}
	if stem, ok := strings.CutSuffix(name, "ies"); ok {
		return stem + "ySet"
	}
	return strings.TrimSuffix(name, "s") + "Set"
}

func ec2Value(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Pointer:
		return ec2Value(value.Elem())
	case reflect.Struct:
		if at, ok := value.Interface().(time.Time); ok {
			return moment{Time: at}
		}
		return ec2Tree(value)
	case reflect.Slice:
		out := &list{item: "item"}
		for i := range value.Len() {
			out.items = append(out.items, ec2Value(value.Index(i)))
		}
		return out
	case reflect.String:
		return value.String()
	case reflect.Bool:
		return value.Bool()
	case reflect.Int32, reflect.Int64:
		return value.Int()
	case reflect.Float32, reflect.Float64:
		return value.Float()
	default:
		return nil
	}
}
