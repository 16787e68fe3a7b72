"""What the suite may expect of PostgreSQL, and why not the rest."""

SUPPORTED = {
    "postgresql": """
        array_type autocommit check_constraint_reflection column_collation_reflection
        comment_reflection comment_reflection_full_unicode
        computed_columns_reflect_persisted computed_columns_stored
        constraint_comment_reflection create_or_replace_view create_table_as
        create_temp_table_as cross_schema_fk_reflection ctes ctes_with_update_delete
        ctes_with_values date_historic datetime_historic datetime_interval datetime_literals
        datetime_timezone datetime_timezone_historic default_schema_name_switch delete_from
        except_ expression_server_defaults fetch_expression fetch_first fetch_no_order_by
        fetch_offset_with_options fetch_ties
        fk_constraint_option_reflection_ondelete_noaction
        fk_constraint_option_reflection_ondelete_restrict
        fk_constraint_option_reflection_onupdate_restrict
        float_or_double_precision_behaves_generically foreign_key_constraint_name_reflection
        foreign_key_constraint_option_reflection_ondelete
        foreign_key_constraint_option_reflection_onupdate has_temp_table identity_columns
        identity_columns_standard implicitly_named_constraints independent_connections
        index_ddl_if_exists index_reflects_included_columns indexes_check_column_order
        indexes_with_expressions infinity_floats inline_check_constraint_reflection
        intersect isolation_level json_deserializer_binary json_type
        legacy_unconditional_json_extract materialized_views
        parens_in_union_contained_select_w_limit_offset
        parens_in_union_contained_select_wo_limit_offset percent_schema_names
        precision_numerics_many_significant_digits
        precision_numerics_retains_significant_digits reflect_indexes_with_expressions
        reflect_table_options reflect_tables_no_columns reflects_pk_names regexp_match
        regexp_replace repeated_column_foreign_keys savepoints schema_create_delete
        server_defaults skip_autocommit_rollback supports_bitwise_and supports_bitwise_not
        supports_bitwise_or supports_bitwise_shift supports_bitwise_xor supports_distinct_on
        table_ddl_if_exists table_value_constructor temp_table_comment_reflection
        temp_table_names temp_table_reflection temporary_tables temporary_views
        time_timezone timestamp_microseconds tuple_in unicode_ddl
        unique_constraints_reflect_as_index update_from uuid_data_type
        view_column_reflection views window_functions window_range window_range_non_numeric
        window_range_numeric
    """,
    # before, a computed column had to be said to be stored
    "postgresql >= 18": "computed_columns computed_columns_virtual",
}

SINCE_2_1 = "reflect_table_options computed_columns computed_columns_virtual"
"""What SQLAlchemy 2.0 does not know of it yet."""

EXCLUDED = {
    "computed columns are virtual unless said otherwise": "computed_columns_default_persisted",
    "no FETCH ... PERCENT": "fetch_percent",
    "a view has no primary key": "materialized_views_reflect_pk",
    "all text is Unicode": "nvarchar_types",
    "a foreign key cannot name a column twice": "repeated_remote_col_foreign_keys",
    "RETURNING tells it": "dbapi_lastrowid",
    "of MySQL": "foreign_keys_reflect_as_index",
    "the order is reflected as such": "reflect_indexes_with_ascdesc_as_expression",
    "of other databases": "unique_index_reflect_as_unique_constraints",
}
"""The reasons, and what is not there for each."""

ISOLATION_LEVELS = {
    "default": "READ COMMITTED",
    "supported": [  # in the order of SQLAlchemy's error
        "AUTOCOMMIT",
        "READ COMMITTED",
        "READ UNCOMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
    ],
}
