# A site on Vultr: object storage with its bucket, and in an OpenBao or Vault that you run the key that wraps its DEKs and the agent's identity there
# (Vultr has no key service of its own).

terraform {
  required_version = ">= 1.6"
  required_providers {
    vultr = { source = "vultr/vultr", version = ">= 2.21" }
    aws   = { source = "hashicorp/aws", version = ">= 5.60" }
    vault = { source = "hashicorp/vault", version = ">= 4.2" }
  }
}

data "vultr_object_storage_cluster" "here" {
  filter {
    name   = "region"
    values = [var.region]
  }
}

resource "vultr_object_storage" "site" {
  cluster_id = data.vultr_object_storage_cluster.here.id
  tier_id    = var.tier_id
  label      = "federation-${var.site}"
}

# Vultr's object storage speaks S3: the bucket is made through that door, with the storage's own keys.
provider "aws" {
  alias                       = "vultr"
  region                      = "us-east-1"
  access_key                  = vultr_object_storage.site.s3_access_key
  secret_key                  = vultr_object_storage.site.s3_secret_key
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true
  s3_use_path_style           = true
  endpoints { s3 = "https://${vultr_object_storage.site.s3_hostname}" }
}

resource "aws_s3_bucket" "site" {
  provider = aws.vultr
  bucket   = var.bucket
}

resource "aws_s3_bucket_versioning" "site" {
  provider = aws.vultr
  bucket   = aws_s3_bucket.site.id
  versioning_configuration { status = "Enabled" }
}

# -- key and identity ---------------------------------------------------------------------------------------------------------------

resource "vault_mount" "transit" {
  path        = "federation-${var.site}"
  type        = "transit"
  description = "Keys of federation site ${var.site}"
}

resource "vault_policy" "agent" {
  name   = "federation-${var.site}"
  policy = <<-POLICY
    path "${vault_mount.transit.path}/*" {
      capabilities = ["create", "read", "update", "delete", "list"]
    }
  POLICY
}

resource "vault_approle_auth_backend_role" "agent" {
  backend            = var.approle_path
  role_name          = "federation-${var.site}"
  token_policies     = [vault_policy.agent.name]
  token_ttl          = 3600
  token_max_ttl      = 14400
  secret_id_num_uses = 0
}
