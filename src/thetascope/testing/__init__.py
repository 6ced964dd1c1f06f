"""What tests of thetascope and of its users share: closed-form models, a table of awkward ones, contract classes."""
