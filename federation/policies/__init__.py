"""The schema and the policies that are shipped with the federation. Texts only; `adapters.policy_cedar` reads them."""
