package network_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

func newNetwork(t *testing.T) (*network.Network, *ec2.Client) {
	t.Helper()
	n := network.New(network.Options{Account: protocoltest.Account, Region: protocoltest.Region})
	return n, ec2.NewFromConfig(protocoltest.Serve(t, n.API()))
}

func where(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: &name, Values: values}}
}

func check[T any](t *testing.T) func(T, error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func TestTheFirstNetworksAreThere(t *testing.T) {
	_, client := newNetwork(t)
	ctx := t.Context()
	vpcs := check[*ec2.DescribeVpcsOutput](t)(client.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: where("tag:Name", "vpc-l*")}))
	if len(vpcs.Vpcs) != 1 || *vpcs.Vpcs[0].CidrBlock != "10.0.0.0/16" {
		t.Errorf("the VPCs are %+v, want vpc-local", vpcs.Vpcs)
	}
	for _, attribute := range []types.VpcAttributeName{types.VpcAttributeNameEnableDnsSupport, types.VpcAttributeNameEnableDnsHostnames} {
		out := check[*ec2.DescribeVpcAttributeOutput](t)(client.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: aws.String("vpc-local"), Attribute: attribute}))
		for _, value := range []*types.AttributeBooleanValue{out.EnableDnsHostnames, out.EnableDnsSupport} {
			if value != nil && !aws.ToBool(value.Value) {
				t.Errorf("%s is off", attribute)
			}
		}
	}
	subnets := check[*ec2.DescribeSubnetsOutput](t)(client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: where("vpc-id", "vpc-local")}))
	zones := map[string]bool{}
	for _, s := range subnets.Subnets {
		zones[*s.AvailabilityZone] = true
	}
	if len(subnets.Subnets) != 2 || len(zones) != 2 {
		t.Errorf("the subnets are %+v, want two in two zones", subnets.Subnets)
	}
	tables := check[*ec2.DescribeRouteTablesOutput](t)(client.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: where("association.subnet-id", "subnet-a")}))
	if len(tables.RouteTables) != 1 || !slices.ContainsFunc(tables.RouteTables[0].Routes, func(r types.Route) bool { return aws.ToString(r.NatGatewayId) == "nat-local" }) {
		t.Errorf("the tables of subnet-a are %+v, want one with a NAT route", tables.RouteTables)
	}
	if out := check[*ec2.DescribeRouteTablesOutput](t)(client.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: where("association.subnet-id", "subnet-isolated")})); len(out.RouteTables) != 0 {
		t.Errorf("the isolated subnet has a table of its own: %+v", out.RouteTables)
	}
	isolated := check[*ec2.DescribeRouteTablesOutput](t)(client.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{
		Filters: append(where("vpc-id", "vpc-isolated"), where("association.main", "true")...),
	}))
	if len(isolated.RouteTables) != 1 || len(isolated.RouteTables[0].Routes) != 1 || *isolated.RouteTables[0].Routes[0].GatewayId != "local" {
		t.Errorf("the isolated main table is %+v, want only the local route", isolated.RouteTables)
	}
	if out := check[*ec2.DescribeNatGatewaysOutput](t)(client.DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{Filter: where("vpc-id", "vpc-local")})); len(out.NatGateways) != 1 {
		t.Errorf("the NAT gateways are %+v", out.NatGateways)
	}
	if out := check[*ec2.DescribeAvailabilityZonesOutput](t)(client.DescribeAvailabilityZones(ctx, nil)); len(out.AvailabilityZones) != 3 {
		t.Errorf("the zones are %+v", out.AvailabilityZones)
	}
}

func TestWhatIsNotThereIsNamed(t *testing.T) {
	_, client := newNetwork(t)
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"InvalidVpcID.NotFound: The vpc ID 'vpc-x' does not exist": func() error {
			_, err := client.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-x"}})
			return err
		},
		"InvalidSubnetID.NotFound: The subnet ID 'subnet-x' does not exist": func() error {
			_, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-a", "subnet-x"}})
			return err
		},
		"InvalidParameterValue: The filter 'colour' is invalid": func() error {
			_, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: where("colour", "red")})
			return err
		},
	} {
		api, ok := errors.AsType[smithy.APIError](call())
		if !ok || api.ErrorCode()+": "+api.ErrorMessage() != want {
			t.Errorf("got %v, want %s", api, want)
		}
	}
}

func TestParametersCanBeChecked(t *testing.T) {
	n, _ := newNetwork(t)
	for _, test := range []struct {
		kind, id string
		want     bool
	}{
		{"AWS::EC2::VPC::Id", "vpc-local", true}, {"AWS::EC2::VPC::Id", "vpc-x", false},
		{"AWS::EC2::Subnet::Id", "subnet-b", true}, {"AWS::EC2::Subnet::Id", "subnet-x", false},
		{"AWS::EC2::SecurityGroup::Id", "sg-default-local", true}, {"AWS::EC2::SecurityGroup::Id", "sg-x", false},
		{"AWS::Route53::HostedZone::Id", "Z1", true},
	} {
		if got := n.Exists(test.kind, test.id); got != test.want {
			t.Errorf("%s %s: %v, want %v", test.kind, test.id, got, test.want)
		}
	}
}

func of(id string, properties map[string]any) *resource.Resource {
	return &resource.Resource{Stack: "s", LogicalID: id, Tags: map[string]string{"stack": "s"}, Properties: properties}
}

func TestGroupsHaveTheRulesOfTheirTemplates(t *testing.T) {
	n, client := newNetwork(t)
	ctx := t.Context()
	groups, ingress := n.Providers()["AWS::EC2::SecurityGroup"], n.Providers()["AWS::EC2::SecurityGroupIngress"]
	template := func(port string) *resource.Resource {
		return of("Group", map[string]any{
			"GroupDescription": "d", "VpcId": "vpc-local",
			"SecurityGroupIngress": []any{map[string]any{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIp": "10.0.0.0/16"}},
		})
	}
	made := check[*resource.Physical](t)(groups.Create(ctx, template("5557")))
	if _, err := groups.Create(ctx, of("Group", map[string]any{"GroupDescription": "d", "VpcId": "vpc-x"})); err == nil {
		t.Error("a group in a VPC that does not exist is made")
	}
	fromItself := of("Rule", map[string]any{"GroupId": made.ID, "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "SourceSecurityGroupId": made.ID})
	own := check[*resource.Physical](t)(ingress.Create(ctx, fromItself))
	check[*resource.Physical](t)(groups.Update(ctx, made, template("5557"), template("5558")))

	described := check[*ec2.DescribeSecurityGroupsOutput](t)(client.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{made.ID}})).SecurityGroups[0]
	var ports []int32
	for _, p := range described.IpPermissions {
		ports = append(ports, *p.FromPort)
	}
	slices.Sort(ports)
	if !slices.Equal(ports, []int32{443, 5558}) || len(described.IpPermissionsEgress) != 1 {
		t.Errorf("ports %v and %d outgoing rules, want 443, 5558 and one", ports, len(described.IpPermissionsEgress))
	}
	if got := n.Tagged()["arn:aws:ec2:us-east-1:123456789012:security-group/"+made.ID]; !maps.Equal(got, map[string]string{"stack": "s"}) {
		t.Errorf("the tags are %v", got)
	}

	used := check[string](t)(n.AddInterface("subnet-b", []string{made.ID}, "127.1.0.5", "a task"))
	out := check[*ec2.DescribeNetworkInterfacesOutput](t)(client.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: where("group-id", made.ID)}))
	if len(out.NetworkInterfaces) != 1 || *out.NetworkInterfaces[0].PrivateIpAddress != "127.1.0.5" {
		t.Errorf("the interfaces are %+v", out.NetworkInterfaces)
	}
	if err := groups.Delete(ctx, made, template("5558")); err == nil || !strings.Contains(err.Error(), "has a dependent object") {
		t.Errorf("a group in use is deleted: %v", err)
	}
	n.RemoveInterface(used)
	for range 2 { // the second time they are gone already
		if err := errors.Join(ingress.Delete(ctx, own, fromItself), groups.Delete(ctx, made, template("5558"))); err != nil {
			t.Error(err)
		}
	}
}

func TestInterfacesNeedTheirNetwork(t *testing.T) {
	n, _ := newNetwork(t)
	for want, add := range map[string]func() (string, error){
		"The subnet ID 'subnet-x' does not exist":  func() (string, error) { return n.AddInterface("subnet-x", nil, "", "") },
		"The security group 'sg-x' does not exist": func() (string, error) { return n.AddInterface("subnet-a", []string{"sg-x"}, "", "") },
		"belong to different networks":             func() (string, error) { return n.AddInterface("subnet-a", []string{"sg-default-isolated"}, "", "") },
	} {
		if _, err := add(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestGatewayEndpointsRouteOnce(t *testing.T) {
	n, client := newNetwork(t)
	ctx := t.Context()
	endpoints := n.Providers()["AWS::EC2::VPCEndpoint"]
	gateway := func(tables ...any) *resource.Resource {
		return of("Dynamo", map[string]any{"VpcId": "vpc-local", "ServiceName": "com.amazonaws.us-east-1.dynamodb", "RouteTableIds": tables})
	}
	routed := func() (tables []string) {
		for _, table := range check[*ec2.DescribeRouteTablesOutput](t)(client.DescribeRouteTables(ctx, nil)).RouteTables {
			if slices.ContainsFunc(table.Routes, func(r types.Route) bool { return strings.HasPrefix(aws.ToString(r.GatewayId), "vpce-") }) {
				tables = append(tables, *table.RouteTableId)
			}
		}
		return tables
	}
	made := check[*resource.Physical](t)(endpoints.Create(ctx, gateway("rtb-local")))
	if got := routed(); !slices.Equal(got, []string{"rtb-local"}) {
		t.Errorf("routed in %v, want rtb-local", got)
	}
	if _, err := endpoints.Create(ctx, gateway("rtb-local")); err == nil || !strings.Contains(err.Error(), "route table rtb-local already has a route with destination-prefix-list-id pl-") {
		t.Errorf("a second gateway in the table: %v", err)
	}
	check[*resource.Physical](t)(endpoints.Update(ctx, made, gateway("rtb-local"), gateway("rtb-local-main")))
	if got := routed(); !slices.Equal(got, []string{"rtb-local-main"}) {
		t.Errorf("after the update routed in %v, want rtb-local-main", got)
	}
	if err := endpoints.Delete(ctx, made, gateway("rtb-local-main")); err != nil || len(routed()) != 0 {
		t.Errorf("after the deletion routed in %v, %v", routed(), err)
	}
}

func TestOneEndpointHasThePrivateName(t *testing.T) {
	n, client := newNetwork(t)
	ctx := t.Context()
	endpoints := n.Providers()["AWS::EC2::VPCEndpoint"]
	messages := func(vpc string, private any, subnets ...any) *resource.Resource {
		return of("Messages", map[string]any{
			"VpcEndpointType": "Interface", "VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.ssmmessages", "SubnetIds": subnets, "PrivateDnsEnabled": private,
		})
	}
	made := check[*resource.Physical](t)(endpoints.Create(ctx, messages("vpc-local", "true", "subnet-a", "subnet-b")))
	_, err := endpoints.Create(ctx, messages("vpc-local", true, "subnet-a"))
	if want := "private-dns-enabled cannot be set because there is already a conflicting DNS domain for ssmmessages.us-east-1.amazonaws.com in the VPC vpc-local"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a second private name: %v, want %q", err, want)
	}
	check[*resource.Physical](t)(endpoints.Create(ctx, messages("vpc-local", false, "subnet-a")))
	check[*resource.Physical](t)(endpoints.Create(ctx, messages("vpc-isolated", true, "subnet-isolated")))

	data := check[[]byte](t)(n.MarshalJSON())
	kept, again := newNetwork(t)
	if err := kept.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*ec2.Client{client, again} {
		out := check[*ec2.DescribeVpcEndpointsOutput](t)(c.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{VpcEndpointIds: []string{made.ID}}))
		if e := out.VpcEndpoints[0]; len(e.NetworkInterfaceIds) != 2 || len(e.DnsEntries) != 1 || *e.Groups[0].GroupName != "default" {
			t.Errorf("the endpoint is %+v", e)
		}
	}
	if err := endpoints.Delete(ctx, made, messages("vpc-local", true)); err != nil {
		t.Error(err)
	}
	left := check[*ec2.DescribeNetworkInterfacesOutput](t)(client.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: where("description", "*"+made.ID)}))
	if len(left.NetworkInterfaces) != 0 {
		t.Errorf("interfaces left: %+v", left.NetworkInterfaces)
	}
}
