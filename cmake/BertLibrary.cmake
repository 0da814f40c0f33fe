# libbertc, shared and static, from every module's objects.
get_property(bert_modules GLOBAL PROPERTY BERT_MODULES)
