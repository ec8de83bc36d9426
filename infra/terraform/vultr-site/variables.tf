variable "site" {
  description = "The site's name in the federation, such as ewr-1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.site))
    error_message = "A site's name has lower-case letters, digits and dashes."
  }
}

variable "region" {
  description = "Vultr's region, such as ewr. The federation's region is then vultr:ewr."
  type        = string
}

variable "tier_id" {
  description = "Tier of the object storage."
  type        = number
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "approle_path" {
  description = "Where OpenBao or Vault has its AppRole method mounted."
  type        = string
  default     = "approle"
}
