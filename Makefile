# All of it is python3 -m dev; this file is the list of what there is.

.DEFAULT_GOAL := help
.PHONY: help doctor up down demo test test-long test-aws bench fmt generate

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

doctor: ## Name what this machine lacks, and the command that gets it
up: ## Start the cluster, the stand-in for AWS and the operator, and keep them running
down: ## Stop them and leave nothing behind
demo: ## Show the main job: from a tenant's YAML to the recording in its bucket
test: ## Everything CI runs
test-long: ## The same at full count, and what needs more time than CI has
test-aws: ## What only AWS itself can show, with the credentials in your environment
bench: ## The performance table
fmt: ## Format the sources
generate: ## Make the files that are made from others: the CRD, its copy and reference, the README of the chart, fixtures of formats

doctor up down demo test test-long test-aws bench fmt generate:
	@python3 -m dev $@
