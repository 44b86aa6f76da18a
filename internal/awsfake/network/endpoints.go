package network

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// prefixLists are the destinations of the services that have gateway endpoints.
var prefixLists = map[string]string{"s3": "pl-63a5400a", "dynamodb": "pl-02cd2c6b"}

type endpointProvider struct{ network *Network }

type endpointProperties struct {
	VpcEndpointType, VpcID, ServiceName        string
	RouteTableIDs, SubnetIDs, SecurityGroupIDs []string
	PrivateDNSEnabled                          bool
	PolicyDocument                             any
}

func readEndpoint(r *resource.Resource) (endpointProperties, []types.Tag, error) {
	var want endpointProperties
	if err := resource.Decode(r.Properties, &want); err != nil {
		return want, nil, err
	}
	want.VpcEndpointType = cmp.Or(want.VpcEndpointType, string(types.VpcEndpointTypeGateway))
	tags, err := r.AllTags()
	return want, tagsOf(tags), err
}

// Create implements resource.Provider.
func (p *endpointProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	want, tags, err := readEndpoint(r)
	if err != nil {
		return nil, err
	}
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.findVPC(want.VpcID) == nil {
		return nil, noVPC(want.VpcID)
	}
	if _, ok := strings.CutPrefix(want.ServiceName, "com.amazonaws."+n.region+"."); !ok {
		return nil, protocol.Errorf("InvalidServiceName", "The Vpc Endpoint Service '%s' does not exist", want.ServiceName)
	}
	made := types.VpcEndpoint{
		VpcEndpointId: aws.String(newID("vpce")), VpcId: &want.VpcID, ServiceName: &want.ServiceName, VpcEndpointType: types.VpcEndpointType(want.VpcEndpointType),
		State: types.StateAvailable, OwnerId: &n.account, CreationTimestamp: aws.Time(n.now()), RequesterManaged: aws.Bool(false),
	}
	if err := p.connect(&made, want, tags); err != nil {
		return nil, err
	}
	n.state.Endpoints = append(n.state.Endpoints, made)
	return &resource.Physical{ID: *made.VpcEndpointId, Attributes: map[string]string{
		"Id": *made.VpcEndpointId, "CreationTimestamp": made.CreationTimestamp.UTC().Format(time.RFC3339),
		"DnsEntries": joined(made.DnsEntries), "NetworkInterfaceIds": strings.Join(made.NetworkInterfaceIds, ","),
	}}, nil
}

func joined(entries []types.DnsEntry) string {
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = *entry.HostedZoneId + ":" + *entry.DnsName
	}
	return strings.Join(names, ",")
}

// connect gives an endpoint its routes or its interfaces.
func (p *endpointProvider) connect(e *types.VpcEndpoint, want endpointProperties, tags []types.Tag) error {
	policy := ""
	if want.PolicyDocument != nil {
		data, err := json.Marshal(want.PolicyDocument)
		if err != nil {
			return fmt.Errorf("policy document: %w", err)
		}
		policy = string(data)
	}
	var err error
	switch e.VpcEndpointType {
	case types.VpcEndpointTypeGateway:
		err = p.route(e, want)
	case types.VpcEndpointTypeInterface:
		err = p.join(e, want)
	default:
		err = protocol.Errorf("InvalidParameter", "an endpoint of type %s is not played here", e.VpcEndpointType)
	}
	if err != nil {
		return err
	}
	e.PolicyDocument, e.Tags, e.PrivateDnsEnabled = &policy, tags, &want.PrivateDNSEnabled
	return nil
}

// route puts the gateway's route into each table. A table has one route to a destination.
func (p *endpointProvider) route(e *types.VpcEndpoint, want endpointProperties) error {
	n := p.network
	list, ok := prefixLists[(*e.ServiceName)[strings.LastIndexByte(*e.ServiceName, '.')+1:]]
	if !ok {
		return protocol.Errorf("InvalidParameter", "Endpoint type (Gateway) does not match available service types ([Interface]).")
	}
	tables := make([]*types.RouteTable, len(want.RouteTableIDs))
	for i, id := range want.RouteTableIDs {
		at := slices.IndexFunc(n.state.RouteTables, func(t types.RouteTable) bool { return *t.RouteTableId == id })
		if at < 0 || *n.state.RouteTables[at].VpcId != *e.VpcId {
			return routeTableKind.missing(id)
		}
		tables[i] = &n.state.RouteTables[at]
		for _, route := range tables[i].Routes {
			if aws.ToString(route.DestinationPrefixListId) == list && aws.ToString(route.GatewayId) != *e.VpcEndpointId {
				return protocol.Errorf("RouteAlreadyExists", "route table %s already has a route with destination-prefix-list-id %s", id, list)
			}
		}
	}
	p.unroute(*e.VpcEndpointId)
	for _, table := range tables {
		table.Routes = append(table.Routes, types.Route{DestinationPrefixListId: &list, GatewayId: e.VpcEndpointId, State: types.RouteStateActive, Origin: types.RouteOriginCreateRoute})
	}
	e.RouteTableIds = want.RouteTableIDs
	return nil
}

func (p *endpointProvider) unroute(endpoint string) {
	for i := range p.network.state.RouteTables {
		table := &p.network.state.RouteTables[i]
		table.Routes = slices.DeleteFunc(table.Routes, func(r types.Route) bool { return aws.ToString(r.GatewayId) == endpoint })
	}
}

// join gives an interface endpoint its interfaces. One endpoint of a VPC may have a service's private
// name (aws.md 5.6).
func (p *endpointProvider) join(e *types.VpcEndpoint, want endpointProperties) error {
	n := p.network
	name := dnsName(*e.ServiceName)
	if want.PrivateDNSEnabled {
		if v := n.findVPC(*e.VpcId); !v.DNSSupport || !v.DNSHostnames {
			return protocol.Errorf("InvalidParameter", "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for %s", *e.VpcId)
		}
		for _, other := range n.state.Endpoints {
			if *other.VpcEndpointId != *e.VpcEndpointId && *other.VpcId == *e.VpcId && *other.ServiceName == *e.ServiceName && aws.ToBool(other.PrivateDnsEnabled) {
				return protocol.Errorf("InvalidParameter", "private-dns-enabled cannot be set because there is already a conflicting DNS domain for %s in the VPC %s", name, *e.VpcId)
			}
		}
	}
	groups := want.SecurityGroupIDs
	if len(groups) == 0 {
		groups = []string{n.defaultGroup(*e.VpcId)}
	}
	var interfaces []string
	for _, subnet := range want.SubnetIDs {
		id, err := n.addInterface(subnet, groups, "", "VPC Endpoint Interface "+*e.VpcEndpointId, types.NetworkInterfaceTypeVpcEndpoint)
		if err != nil {
			n.removeInterfaces(interfaces)
			return err
		}
		interfaces = append(interfaces, id)
	}
	n.removeInterfaces(e.NetworkInterfaceIds)
	e.NetworkInterfaceIds, e.SubnetIds, e.Groups = interfaces, want.SubnetIDs, nil
	for _, id := range groups {
		g := n.group(id)
		if g == nil {
			n.removeInterfaces(interfaces)
			return noGroup(id)
		}
		e.Groups = append(e.Groups, types.SecurityGroupIdentifier{GroupId: g.GroupId, GroupName: g.GroupName})
	}
	e.DnsEntries = []types.DnsEntry{{DnsName: aws.String(*e.VpcEndpointId + "." + name), HostedZoneId: aws.String("Z7HUB22UULQXV")}}
	return nil
}

// dnsName is com.amazonaws.us-east-1.ssmmessages as ssmmessages.us-east-1.amazonaws.com.
func dnsName(service string) string {
	parts := strings.Split(strings.TrimPrefix(service, "com.amazonaws."), ".")
	region, rest := parts[0], slices.Clone(parts[1:])
	slices.Reverse(rest)
	return strings.Join(rest, ".") + "." + region + ".amazonaws.com"
}

func (p *endpointProvider) find(id string) int {
	return slices.IndexFunc(p.network.state.Endpoints, func(e types.VpcEndpoint) bool { return *e.VpcEndpointId == id })
}

// Update implements resource.Provider.
func (p *endpointProvider) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	want, tags, err := readEndpoint(to)
	if err != nil {
		return nil, err
	}
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	at := p.find(old.ID)
	if at < 0 {
		return nil, endpointKind.missing(old.ID)
	}
	return old, p.connect(&p.network.state.Endpoints[at], want, tags)
}

// Delete implements resource.Provider.
func (p *endpointProvider) Delete(_ context.Context, old *resource.Physical, _ *resource.Resource) error {
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	at := p.find(old.ID)
	if at < 0 {
		return nil
	}
	p.unroute(old.ID)
	p.network.removeInterfaces(p.network.state.Endpoints[at].NetworkInterfaceIds)
	p.network.state.Endpoints = slices.Delete(p.network.state.Endpoints, at, at+1)
	return nil
}

// Replaces implements resource.Provider.
func (*endpointProvider) Replaces(property string, _, _ any) resource.Replacement {
	switch property {
	case "VpcId", "ServiceName", "VpcEndpointType":
		return resource.Always
	default:
		return resource.Never
	}
}
