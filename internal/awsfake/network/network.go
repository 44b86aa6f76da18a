// Package network plays EC2 as far as load stacks see it: the VPCs of an account with their subnets,
// routes, endpoints, security groups and network interfaces. Nothing here carries packets.
package network

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// The networks of a new account: one with DNS, two private subnets and a way out, and one without a
// way out, whose subnets use the main route table only.
const (
	LocalVPC        = "vpc-local"
	IsolatedVPC     = "vpc-isolated"
	SubnetA         = "subnet-a"
	SubnetB         = "subnet-b"
	IsolatedSubnet  = "subnet-isolated"
	IsolatedSubnetB = "subnet-isolated-b"
)

// Options configure the networks.
type Options struct {
	Account, Region string
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// Network is the networks of one account. It is safe for concurrent use.
type Network struct {
	account, region string
	now             func() time.Time

	mu    sync.RWMutex
	state state
}

// state is what is kept between runs.
type state struct {
	VPCs        []vpc
	Subnets     []types.Subnet
	RouteTables []types.RouteTable
	NATs        []types.NatGateway
	Endpoints   []types.VpcEndpoint
	Groups      []*group
	Interfaces  []types.NetworkInterface
}

// vpc is a network with the attributes that only DescribeVpcAttribute tells.
type vpc struct {
	types.Vpc
	DNSSupport, DNSHostnames bool
}

// group is a security group; its rules come from the group itself and from resources of their own.
type group struct {
	types.SecurityGroup
	Rules []rule
}

type rule struct {
	ID         string
	Egress     bool
	Own        bool // part of the group's own template
	Permission types.IpPermission
}

// New makes the networks of a new account.
func New(o Options) *Network {
	n := &Network{account: o.Account, region: o.Region, now: o.Now}
	if n.now == nil {
		n.now = time.Now
	}
	s := &n.state
	s.VPCs = []vpc{n.vpc(LocalVPC, "10.0.0.0/16"), n.vpc(IsolatedVPC, "10.1.0.0/16")}
	s.Subnets = []types.Subnet{
		n.subnet(SubnetA, LocalVPC, "10.0.0.0/20", "a"),
		n.subnet(SubnetB, LocalVPC, "10.0.16.0/20", "b"),
		n.subnet(IsolatedSubnet, IsolatedVPC, "10.1.0.0/20", "a"),
		n.subnet(IsolatedSubnetB, IsolatedVPC, "10.1.16.0/20", "b"),
	}
	out := types.Route{DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: aws.String("nat-local"), State: types.RouteStateActive, Origin: types.RouteOriginCreateRoute}
	s.RouteTables = []types.RouteTable{
		n.routeTable("rtb-local-main", LocalVPC, "10.0.0.0/16", nil, out),
		n.routeTable("rtb-local", LocalVPC, "10.0.0.0/16", []string{SubnetA, SubnetB}, out),
		n.routeTable("rtb-isolated", IsolatedVPC, "10.1.0.0/16", nil),
	}
	s.NATs = []types.NatGateway{{
		NatGatewayId: aws.String("nat-local"), VpcId: aws.String(LocalVPC), SubnetId: aws.String(SubnetA), State: types.NatGatewayStateAvailable,
		ConnectivityType: types.ConnectivityTypePublic, CreateTime: aws.Time(n.now()),
	}}
	for _, v := range []string{LocalVPC, IsolatedVPC} {
		s.Groups = append(s.Groups, &group{
			SecurityGroup: types.SecurityGroup{
				GroupId: aws.String("sg-default-" + strings.TrimPrefix(v, "vpc-")), GroupName: aws.String("default"), VpcId: aws.String(v), OwnerId: &n.account,
				Description: aws.String("default VPC security group"),
			},
			Rules: []rule{allOut()},
		})
	}
	return n
}

func (n *Network) vpc(id, cidr string) vpc {
	return vpc{
		Vpc: types.Vpc{
			VpcId: &id, CidrBlock: &cidr, State: types.VpcStateAvailable, OwnerId: &n.account, IsDefault: aws.Bool(false), InstanceTenancy: types.TenancyDefault,
			CidrBlockAssociationSet: []types.VpcCidrBlockAssociation{{CidrBlock: &cidr, AssociationId: aws.String("vpc-cidr-assoc-" + id)}}, Tags: nameTag(id),
		},
		DNSSupport: true, DNSHostnames: true,
	}
}

func (n *Network) subnet(id, vpc, cidr, zone string) types.Subnet {
	return types.Subnet{
		SubnetId: &id, VpcId: &vpc, CidrBlock: &cidr, AvailabilityZone: aws.String(n.region + zone), AvailabilityZoneId: aws.String(zoneID(zone)),
		State: types.SubnetStateAvailable, AvailableIpAddressCount: aws.Int32(4091), MapPublicIpOnLaunch: aws.Bool(false), DefaultForAz: aws.Bool(false),
		OwnerId: &n.account, SubnetArn: aws.String(n.arn("subnet/" + id)), Tags: nameTag(id),
	}
}

// zoneID is the id of a zone by its letter.
func zoneID(letter string) string { return fmt.Sprintf("use1-az%d", letter[0]-'a'+1) }

func nameTag(id string) []types.Tag {
	return []types.Tag{{Key: aws.String("Name"), Value: aws.String(id)}}
}

// routeTable makes the main table of a VPC, or with subnets one of these.
func (n *Network) routeTable(id, vpc, cidr string, subnets []string, routes ...types.Route) types.RouteTable {
	local := types.Route{DestinationCidrBlock: &cidr, GatewayId: aws.String("local"), State: types.RouteStateActive, Origin: types.RouteOriginCreateRouteTable}
	associated := &types.RouteTableAssociationState{State: types.RouteTableAssociationStateCodeAssociated}
	table := types.RouteTable{RouteTableId: &id, VpcId: &vpc, OwnerId: &n.account, Routes: append([]types.Route{local}, routes...), Tags: nameTag(id)}
	if len(subnets) == 0 {
		table.Associations = []types.RouteTableAssociation{{Main: aws.Bool(true), RouteTableAssociationId: aws.String("rtbassoc-" + id), RouteTableId: &id, AssociationState: associated}}
	}
	for _, subnet := range subnets {
		table.Associations = append(table.Associations, types.RouteTableAssociation{
			Main: aws.Bool(false), RouteTableAssociationId: aws.String("rtbassoc-" + subnet), RouteTableId: &id, SubnetId: &subnet, AssociationState: associated,
		})
	}
	return table
}

// allOut is the rule that a group without rules for outgoing traffic has.
func allOut() rule {
	return rule{ID: newID("sgr"), Egress: true, Own: true, Permission: types.IpPermission{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}}
}

func (n *Network) arn(resource string) string {
	return "arn:aws:ec2:" + n.region + ":" + n.account + ":" + resource
}

// newID makes an id in the form of EC2's.
func newID(prefix string) string {
	var b [9]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%s-%x", prefix, b)[:len(prefix)+18]
}

// AddInterface makes a network interface of a task, a function or an endpoint, with the address given
// ("" = one of the subnet). Its error names a subnet or group that does not exist.
func (n *Network) AddInterface(subnet string, groups []string, address, description string) (id string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addInterface(subnet, groups, address, description, types.NetworkInterfaceTypeInterface)
}

// VPC is the id of a subnet's VPC, "" when there is no such subnet.
func (n *Network) VPC(subnet string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.IndexFunc(n.state.Subnets, func(s types.Subnet) bool { return *s.SubnetId == subnet })
	if at < 0 {
		return ""
	}
	return *n.state.Subnets[at].VpcId
}

func (n *Network) addInterface(subnet string, groups []string, address, description string, kind types.NetworkInterfaceType) (string, error) {
	at := slices.IndexFunc(n.state.Subnets, func(s types.Subnet) bool { return *s.SubnetId == subnet })
	if at < 0 {
		return "", absent("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", subnet)
	}
	in := n.state.Subnets[at]
	if len(groups) == 0 {
		groups = []string{n.defaultGroup(*in.VpcId)}
	}
	made := types.NetworkInterface{
		NetworkInterfaceId: aws.String(newID("eni")), SubnetId: in.SubnetId, VpcId: in.VpcId, AvailabilityZone: in.AvailabilityZone, Description: &description,
		PrivateIpAddress: aws.String(cmp.Or(address, n.freeAddress(in))), Status: types.NetworkInterfaceStatusInUse, OwnerId: &n.account, InterfaceType: kind,
	}
	for _, id := range groups {
		g := n.group(id)
		if g == nil {
			return "", noGroup(id)
		}
		if *g.VpcId != *in.VpcId {
			return "", protocol.Errorf("InvalidParameterValue", "Security group %s and subnet %s belong to different networks.", id, subnet)
		}
		made.Groups = append(made.Groups, types.GroupIdentifier{GroupId: g.GroupId, GroupName: g.GroupName})
	}
	n.state.Interfaces = append(n.state.Interfaces, made)
	return *made.NetworkInterfaceId, nil
}

// freeAddress is the subnet's first address that no interface has; AWS keeps the first four.
func (n *Network) freeAddress(subnet types.Subnet) string {
	network, _, _ := strings.Cut(*subnet.CidrBlock, "/")
	stem := network[:strings.LastIndexByte(network, '.')+1]
	for host := 4; ; host++ {
		address := fmt.Sprintf("%s%d", stem, host)
		if !slices.ContainsFunc(n.state.Interfaces, func(i types.NetworkInterface) bool { return *i.PrivateIpAddress == address }) {
			return address
		}
	}
}

// RemoveInterface removes what AddInterface made; one that is gone is no error.
func (n *Network) RemoveInterface(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removeInterfaces([]string{id})
}

func (n *Network) removeInterfaces(ids []string) {
	n.state.Interfaces = slices.DeleteFunc(n.state.Interfaces, func(i types.NetworkInterface) bool { return slices.Contains(ids, *i.NetworkInterfaceId) })
}

func (n *Network) group(id string) *group {
	for _, g := range n.state.Groups {
		if *g.GroupId == id {
			return g
		}
	}
	return nil
}

func (n *Network) defaultGroup(vpc string) string {
	for _, g := range n.state.Groups {
		if *g.VpcId == vpc && *g.GroupName == "default" {
			return *g.GroupId
		}
	}
	return ""
}

func (n *Network) findVPC(id string) *vpc {
	for i := range n.state.VPCs {
		if *n.state.VPCs[i].VpcId == id {
			return &n.state.VPCs[i]
		}
	}
	return nil
}

// described is a group with its rules as the API shows them.
func (g *group) described() types.SecurityGroup {
	out := g.SecurityGroup
	for _, r := range g.Rules {
		if r.Egress {
			out.IpPermissionsEgress = append(out.IpPermissionsEgress, r.Permission)
		} else {
			out.IpPermissions = append(out.IpPermissions, r.Permission)
		}
	}
	return out
}

func tagsOf(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return out
}

// Exists says whether there is a resource of a parameter's type, such as AWS::EC2::VPC::Id; types that
// are no networks' are taken for granted.
func (n *Network) Exists(kind, id string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	switch kind {
	case "AWS::EC2::VPC::Id":
		return n.findVPC(id) != nil
	case "AWS::EC2::Subnet::Id":
		return slices.ContainsFunc(n.state.Subnets, func(s types.Subnet) bool { return *s.SubnetId == id })
	case "AWS::EC2::SecurityGroup::Id":
		return n.group(id) != nil
	default:
		return true
	}
}

// Tagged returns the tags of endpoints and groups by ARN.
func (n *Network) Tagged() map[string]map[string]string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out := map[string]map[string]string{}
	add := func(resource string, tags []types.Tag) {
		if len(tags) == 0 {
			return
		}
		of := map[string]string{}
		for _, tag := range tags {
			of[*tag.Key] = *tag.Value
		}
		out[n.arn(resource)] = of
	}
	for _, e := range n.state.Endpoints {
		add("vpc-endpoint/"+*e.VpcEndpointId, e.Tags)
	}
	for _, g := range n.state.Groups {
		add("security-group/"+*g.GroupId, g.Tags)
	}
	return out
}

// MarshalJSON returns the networks as JSON.
func (n *Network) MarshalJSON() ([]byte, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return json.Marshal(n.state)
}

// UnmarshalJSON replaces the networks by what MarshalJSON returned.
func (n *Network) UnmarshalJSON(data []byte) error {
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state = s
	return nil
}

func absent(code, format string, args ...any) error { return protocol.Errorf(code, format, args...) }

func noGroup(id string) error {
	return absent("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
}

func noVPC(id string) error {
	return absent("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
}
