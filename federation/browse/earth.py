"""What the map is drawn from: coarse outlines of the land, and where providers say that their regions are. Data only.

Degrees of latitude and longitude, to about half a degree: a character of the map is three degrees and more. A region that is
not here is not put anywhere: it is named below the map.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

#: Outlines as `latitude,longitude` of their corners.
_LAND = """
66,-166 71,-157 69,-135 69,-115 67,-108 68,-95 70,-90 63,-92 59,-94 55,-82 51,-80 55,-77 62,-78 61,-70 58,-67 60,-64
  55,-60 52,-56 49,-60 49,-66 46,-64 44,-66 43,-70 41,-71 39,-75 35,-76 31,-81 26,-80 25,-81 30,-84 30,-89 29,-94
  26,-97 22,-98 19,-96 18,-93 21,-90 21,-87 16,-88 15,-84 11,-84 9,-80 8,-77 7,-80 9,-84 13,-88 16,-95 19,-104
  23,-107 31,-114 23,-110 28,-115 34,-119 40,-124 48,-124 54,-130 58,-136 60,-142 60,-149 57,-157 55,-163 59,-158
  60,-165
83,-35 81,-20 76,-19 70,-23 68,-30 65,-40 60,-44 64,-52 69,-52 76,-68 78,-72 82,-60
73,-122 70,-118 69,-105 73,-105
73,-88 72,-76 66,-62 62,-66 65,-73 69,-76 70,-88
12,-72 11,-64 8,-60 5,-52 0,-50 -3,-40 -7,-35 -13,-39 -23,-42 -28,-49 -34,-54 -38,-58 -41,-63 -47,-66 -52,-69
  -55,-67 -52,-74 -43,-73 -33,-72 -18,-71 -14,-76 -5,-81 1,-80 7,-78
36,-6 37,10 33,11 30,19 32,23 31,32 22,37 15,40 11,43 12,51 4,47 -3,40 -11,40 -16,40 -20,35 -26,33 -34,26 -34,18
  -28,16 -17,12 -9,13 -1,9 4,9 6,3 4,-8 8,-13 15,-17 21,-17 28,-12
-12,49 -16,50 -25,47 -22,43 -16,44
37,-9 43,-9 43,-2 46,-1 48,-5 50,2 53,5 54,8 57,8 57,11 54,11 54,20 59,23 60,30 60,22 65,25 66,22 61,17 56,16 56,13
  59,11 58,6 62,5 68,14 71,25 67,41 64,38 68,44 69,60 73,70 72,80 76,90 78,104 73,115 71,130 72,140 70,160 70,178
  65,177 60,170 60,163 52,157 58,162 62,160 59,150 59,143 54,136 48,140 43,132 39,128 35,129 35,126 40,125 39,118
  37,122 30,122 23,117 21,110 20,106 12,109 9,105 13,100 7,100 1,104 8,98 16,97 16,94 22,91 21,87 16,82 10,80 8,77
  15,74 21,72 25,67 25,61 27,56 30,49 24,51 24,54 26,56 22,60 17,55 13,45 20,40 28,35 31,34 36,36 37,31 37,27 40,26
  41,29 41,38 45,37 47,39 45,34 46,31 44,28 41,28 38,24 37,22 42,19 45,14 44,12 40,18 38,16 41,13 44,8 43,4 41,1
  37,-2 36,-6
50,-5 51,1 53,0 55,-2 58,-2 58,-5 54,-3 53,-4
52,-10 52,-6 55,-6 54,-10
66,-24 66,-15 64,-16 64,-22
80,12 80,25 77,17
31,130 34,132 36,140 41,141 45,142 43,145 41,140 38,139 35,133
22,-84 23,-80 20,-75 20,-77
20,-73 19,-69 18,-71
10,80 6,80 7,82
5,95 0,104 -6,106 -5,103
7,117 1,119 -4,115 -3,110 2,110
-6,105 -8,114 -9,114 -7,107
-1,131 -3,141 -6,147 -10,150 -8,143 -9,138 -4,133
1,120 1,125 -5,123 -5,120
18,120 14,124 7,126 7,122
-12,131 -12,136 -17,140 -11,142 -19,147 -25,153 -33,152 -38,147 -38,141 -32,134 -35,118 -32,115 -22,114 -18,122
-41,145 -41,148 -43,147
-34,173 -38,178 -41,175 -47,169 -46,167 -41,172
"""

#: Cities with the regions that providers have there.
_CITIES = """
Frankfurt 50 9: aws:eu-central-1 gcp:europe-west3 azure:germanywestcentral vultr:fra digitalocean:fra1
Frankfurt 50 9: akamai-linode:eu-central ibm:eu-de
Zurich 47 8.5: aws:eu-central-2 gcp:europe-west6 azure:switzerlandnorth oci:eu-zurich-1
Falkenstein 50.5 12: hetzner:fsn1 hetzner:nbg1
Dublin 53 -6: aws:eu-west-1 azure:northeurope
London 51.5 0: aws:eu-west-2 gcp:europe-west2 azure:uksouth vultr:lhr digitalocean:lon1 ibm:eu-gb
Manchester 53.5 -2: vultr:man
Paris 49 2: aws:eu-west-3 gcp:europe-west9 azure:francecentral vultr:cdg scaleway:fr-par oci:eu-paris-1
Stockholm 59 18: aws:eu-north-1 gcp:europe-north2 azure:swedencentral vultr:sto
Milan 45.5 9: aws:eu-south-1 gcp:europe-west8 azure:italynorth
Madrid 40.5 -4: gcp:europe-southwest1 azure:spaincentral vultr:mad ibm:eu-es
Zaragoza 41.5 -1: aws:eu-south-2
Amsterdam 52.5 5: azure:westeurope vultr:ams digitalocean:ams3 scaleway:nl-ams gcp:europe-west4
Brussels 50.5 4: gcp:europe-west1 azure:belgiumcentral
Warsaw 52 21: gcp:europe-central2 azure:polandcentral vultr:waw scaleway:pl-waw
Helsinki 60 25: gcp:europe-north1 hetzner:hel1
Oslo 60 11: azure:norwayeast
Virginia 39 -77.5: aws:us-east-1 gcp:us-east4 azure:eastus azure:eastus2 oci:us-ashburn-1 hetzner:ash ibm:us-east
Ohio 40 -83: aws:us-east-2 gcp:us-east5 aws:us-gov-east-1
Carolina 33 -80: gcp:us-east1
New-Jersey 40.5 -74: vultr:ewr digitalocean:nyc1 digitalocean:nyc3
Chicago 42 -88: vultr:ord azure:northcentralus
Iowa 41.5 -94: gcp:us-central1 azure:centralus
Dallas 33 -97: vultr:dfw gcp:us-south1 ibm:us-south azure:southcentralus
Atlanta 33.5 -84: vultr:atl
Miami 26 -80: vultr:mia
Los-Angeles 34 -118: vultr:lax gcp:us-west2
Silicon-Valley 37.5 -122: aws:us-west-1 vultr:sjc digitalocean:sfo3 azure:westus
Oregon 45.5 -121: aws:us-west-2 gcp:us-west1 hetzner:hil azure:westus2
Seattle 47.5 -122: vultr:sea
Salt-Lake-City 41 -112: gcp:us-west3
Las-Vegas 36 -115: gcp:us-west4
Phoenix 33.5 -112: oci:us-phoenix-1 azure:westus3
Honolulu 21 -158: vultr:hnl
Montreal 45.5 -73.5: aws:ca-central-1 gcp:northamerica-northeast1 azure:canadaeast
Toronto 43.5 -79: gcp:northamerica-northeast2 azure:canadacentral vultr:yto digitalocean:tor1
Calgary 51 -114: aws:ca-west-1
Mexico 19.5 -99: vultr:mex aws:mx-central-1 gcp:northamerica-south1
Sao-Paulo -23.5 -46.5: aws:sa-east-1 gcp:southamerica-east1 azure:brazilsouth vultr:sao akamai-linode:br-gru
Santiago -33.5 -70.5: gcp:southamerica-west1 vultr:scl
Johannesburg -26 28: gcp:africa-south1 azure:southafricanorth vultr:jnb
Cape-Town -34 18.5: aws:af-south-1
Tel-Aviv 32 35: aws:il-central-1 gcp:me-west1 vultr:tlv
Bahrain 26 50.5: aws:me-south-1
Dubai 25 55: aws:me-central-1 azure:uaenorth
Doha 25.5 51.5: gcp:me-central1
Mumbai 19 73: aws:ap-south-1 gcp:asia-south1 azure:westindia vultr:bom
Hyderabad 17.5 78.5: aws:ap-south-2
Delhi 28.5 77: gcp:asia-south2 vultr:del
Bangalore 13 77.5: vultr:blr digitalocean:blr1
Singapore 1.5 104: aws:ap-southeast-1 gcp:asia-southeast1 azure:southeastasia vultr:sgp digitalocean:sgp1 hetzner:sin
Jakarta -6 107: aws:ap-southeast-3 gcp:asia-southeast2 akamai-linode:id-cgk
Kuala-Lumpur 3 101.5: aws:ap-southeast-5
Bangkok 13.5 100.5: aws:ap-southeast-7
Hong-Kong 22.5 114: aws:ap-east-1 gcp:asia-east2 azure:eastasia
Taiwan 24 121: gcp:asia-east1 aws:ap-east-2
Tokyo 35.5 139.5: aws:ap-northeast-1 gcp:asia-northeast1 azure:japaneast vultr:nrt
Osaka 34.5 135.5: aws:ap-northeast-3 gcp:asia-northeast2 azure:japanwest vultr:itm
Seoul 37.5 127: aws:ap-northeast-2 gcp:asia-northeast3 azure:koreacentral vultr:icn
Sydney -34 151: aws:ap-southeast-2 gcp:australia-southeast1 azure:australiaeast vultr:syd digitalocean:syd1
Melbourne -38 145: aws:ap-southeast-4 gcp:australia-southeast2 vultr:mel
Auckland -37 175: aws:ap-southeast-6
"""

Point = tuple[float, float]


@functools.cache
def land() -> tuple[tuple[Point, ...], ...]:
    """The outlines, as latitude and longitude of their corners."""
    outlines: list[list[Point]] = []
    for line in _LAND.strip("\n").splitlines():
        corners = [(float(latitude), float(longitude)) for latitude, longitude in (pair.split(",") for pair in line.split())]
        if line.startswith(" "):
            outlines[-1] += corners
        else:
            outlines.append(corners)
    return tuple(map(tuple, outlines))


@functools.cache
def regions() -> Mapping[str, Point]:
    """Latitude and longitude of every region that is known, by its name (`aws:eu-central-1`)."""
    found: dict[str, Point] = {}
    for line in _CITIES.strip().splitlines():
        city, _, names = line.partition(": ")
        _, latitude, longitude = city.split()
        found |= dict.fromkeys(names.split(), (float(latitude), float(longitude)))
    return found
