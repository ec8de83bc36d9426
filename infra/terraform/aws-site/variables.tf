variable "site" {
  description = "The site's name in the federation, such as eu-1."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.site))
    error_message = "A site's name has lower-case letters, digits and dashes."
  }
}

variable "jurisdiction" {
  description = "Whose law the site stands under, such as EU."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "noncurrent_days" {
  description = "How long what was deleted or replaced can be brought back. Erasure does not depend on it: it destroys keys."
  type        = number
  default     = 7
}

variable "oidc_provider" {
  description = "Issuer of the cluster's service accounts, without https://."
  type        = string
}

variable "oidc_provider_arn" {
  description = "The IAM identity provider of that issuer."
  type        = string
}

variable "namespace" {
  description = "Namespace in which the site's chart is installed."
  type        = string
}

variable "service_account" {
  description = "The agent's service account."
  type        = string
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
